/* Opens a library that counts in a thread-local variable, and looks whether the program's own variables stay as they were. */
#include <dlfcn.h>
#include <stdio.h>

static __thread volatile long own[64] = {1, 2, 3};

int main(int argc, char **argv)
{
    void *library = dlopen(argv[argc - 1], RTLD_NOW);
    if (!library) {
        puts(dlerror());
        return 2;
    }
    long (*add)(long) = (long (*)(long))dlsym(library, "add");
    long before[64];
    for (int i = 0; i < 64; i++)
        before[i] = own[i];
    printf("counter %ld\n", add(1));
    for (int i = 0; i < 64; i++)
        if (own[i] != before[i]) {
            puts("overwritten");
            return 0;
        }
    puts("intact");
    return 0;
}
