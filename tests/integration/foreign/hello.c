#include <stdio.h>

int main(void)
{
    puts("hello from a foreign project");
    return 0;
}
