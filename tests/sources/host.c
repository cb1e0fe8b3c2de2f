/* Opens each argument with dlopen and prints a line for it: ":" when it loads, ":" and dlerror's words when it does not. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        void *module = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
        printf(":%s\n", module ? "" : dlerror());
        fflush(stdout);
    }
    return 0;
}
