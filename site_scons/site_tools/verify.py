"""The proof: ``env.Verify`` opens a bundle in a real browser and types into its terminal."""

import os


def generate(env):
    env.AddMethod(verify, "Verify")


def exists(env):
    return True


def verify(env, name, *, machine, bundle, toolchain, lay_out):
    """Outputs ``verdict.json`` and ``screenshot.png``, laid out in the directory ``lay_out``.

    Server and browser share one sandbox without network. An unchanged bundle is not opened again.
    """
    outputs = ["verdict.json", "screenshot.png"]
    return env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["python3", "/src/recipe/verify.py"],
        inputs={
            "/deps/bundle": env.ThawOutput(bundle, "bundle"),
            "/src/machine.json": {"json": machine.to_json()},
            **env.ThawRecipe("web/recipes", "verify.py"),
            **env.ThawRecipe("site_scons/thaw", "server.py"),
        },
        outputs=outputs,
        lay_out={output: os.path.join(lay_out, output) for output in outputs},
        timeout=900,
    )
