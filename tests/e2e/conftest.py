"""What e2e tests share: a clean clone."""

import pytest
from checkout import Clone, clone_to


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return clone_to(tmp_path_factory.mktemp("clone"))
