/* MPFR's functions as the first use of it in a new thread, and again in the same thread.
 *
 * usage: mpfr_first_use LIBGMP LIBMPFR [destroy]     Prints for each function: its name, the first result, the second one.
 * With the third word malloc destroys xmm0 to xmm15, as the calling convention lets it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* mpfr.h's types on a 64-bit machine; the operands are made in the main thread. */
typedef struct { long precision; int sign; long exponent; unsigned long *limbs; } number[1];
typedef int binary_d(void *, const void *, double, int);
typedef int d_binary(void *, double, const void *, int);

extern void *__libc_malloc(size_t);
static int destroying;

void *malloc(size_t size) {
    static const unsigned char garbage[16] = {0x35, 0x40, 0x4b, 0x56, 0x61, 0x6c, 0x77, 0x82, 0x8d, 0x98, 0xa3, 0xae, 0xb9, 0xc4, 0xcf, 0xc1};
    void *made = __libc_malloc(size);
    if (destroying) __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movups (%0), %%xmm\\n\n.endr" ::"r"(garbage));
    return made;
}

static void *mpfr;
static number result, ten, five_halves;
static double (*get_d)(const void *, int);
static const char *name;
static char text[2][64];

static void *f(const char *word) { return dlsym(mpfr, word); }

static void call(char *answer) {
    void *function = f(name);
    double value;
    if (!strcmp(name, "mpfr_set_d")) ((int (*)(void *, double, int))function)(result, 2.5, 0), value = get_d(result, 0);
    else if (!strcmp(name, "mpfr_set_float128")) ((int (*)(void *, __float128, int))function)(result, -2.5, 0), value = get_d(result, 0);
    else if (!strcmp(name, "mpfr_cmp_d")) value = ((int (*)(const void *, double))function)(ten, 20.5);
    else if (!strncmp(name, "mpfr_d_", 7)) ((d_binary *)function)(result, 2.5, ten, 0), value = get_d(result, 0);
    else if (!strcmp(name, "mpfr_pow")) ((int (*)(void *, const void *, const void *, int))function)(result, ten, five_halves, 0), value = get_d(result, 0);
    else if (!strcmp(name, "mpfr_round_nearest_away_begin")) {
        long (*emin)(void) = (long (*)(void))f("mpfr_get_emin"), (*emax)(void) = (long (*)(void))f("mpfr_get_emax");
        ((void (*)(void *))function)(result);
        ((int (*)(void *, const void *, int))f("mpfr_set"))(result, ten, 0);
        ((int (*)(void *, int, int))f("mpfr_round_nearest_away_end"))(result, 0, 0);
        snprintf(answer, 64, "%g, exponents %ld to %ld", get_d(result, 0), emin(), emax());
        return;
    } else ((binary_d *)function)(result, ten, 2.5, 0), value = get_d(result, 0);
    snprintf(answer, 64, "%g", value);
}

static void *in_thread(void *unused) { return call(text[0]), call(text[1]), unused; }

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || !dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) || !(mpfr = dlopen(argv[2], RTLD_NOW)))
        return fprintf(stderr, "%s\n", dlerror()), 2;
    void (*init)(void *, long) = (void (*)(void *, long))f("mpfr_init2");
    int (*set_d)(void *, double, int) = (int (*)(void *, double, int))f("mpfr_set_d");
    get_d = (double (*)(const void *, int))f("mpfr_get_d");
    ((long (*)(void))f("mpfr_get_emin"))(); /* the main thread is not to lose anything */
    init(result, 53), init(ten, 53), init(five_halves, 53);
    set_d(ten, 10, 0), set_d(five_halves, 2.5, 0);
    destroying = argc > 3;
    static const char *const names[] = {"mpfr_add_d", "mpfr_sub_d", "mpfr_mul_d", "mpfr_div_d", "mpfr_d_sub", "mpfr_d_div", "mpfr_set_d", "mpfr_cmp_d",
                                        "mpfr_set_float128", "mpfr_pow", "mpfr_round_nearest_away_begin"};
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
        pthread_t thread;
        name = names[n];
        if (!f(name)) continue;
        if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL)) return 3;
        printf("%s\t%s\t%s\n", name, text[0], text[1]);
    }
}
