/* Opens a module and prints what f(3, 4) gives at the first and the second call of the main thread and of two new ones. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static double (*f)(double, double);

static void *calls(void *unused) {
    double first = f(3.0, 4.0), second = f(3.0, 4.0);
    printf("%.17g %.17g\n", first, second);
    return unused;
}

int main(int argc, char **argv) {
    void *module = dlopen(argv[1], RTLD_NOW);
    if (!module) return puts(dlerror()), 1;
    f = (double (*)(double, double))dlsym(module, "f");
    calls(NULL);
    for (int n = 0; n < 2; n++) {
        pthread_t thread;
        pthread_create(&thread, NULL, calls, NULL);
        pthread_join(thread, NULL);
    }
    return argc < 2;
}
