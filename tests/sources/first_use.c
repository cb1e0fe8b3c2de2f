/* A host whose malloc destroys every vector register, and which runs each function of a module as a new thread's first use of its TLS.
 *
 * usage: first_use MODULE SLOT...      (hexadecimal offsets of the descriptors from the load address)
 * The module exports  unsigned run_one(unsigned number, unsigned char *results)  and  int touch(void), which reads a thread-local variable.
 * Prints for each function: its number, the offset behind the first descriptor call that it made, and whether its results are those of a
 * thread that had called touch() before: 0 the same, 1 changed, 2 died.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 1024 };
typedef unsigned run_one_t(unsigned, unsigned char *);

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static unsigned char garbage[64];
static int wide;

static void destroy(void) {
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movups (%0), %%xmm\\n\n.endr" ::"r"(garbage));
    if (wide) __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovups (%0), %%ymm\\n\n.endr" ::"r"(garbage));
}

/* An allocator may do this: the calling convention keeps no vector register. */
void *malloc(size_t size) { void *made = __libc_malloc(size); return destroy(), made; }
void *calloc(size_t n, size_t size) { void *made = __libc_calloc(n, size); return destroy(), made; }
void *realloc(void *old, size_t size) { void *made = __libc_realloc(old, size); return destroy(), made; }

void *original_resolver;
uint64_t *first_site; /* shared with the children: the return address of the first descriptor call */
void noting_resolver(void);
__asm__(
    ".globl noting_resolver\n"
    "noting_resolver:\n"
    "  push %rcx\n"
    "  push %rdx\n"
    "  mov first_site(%rip), %rdx\n"
    "  cmpq $0, (%rdx)\n"
    "  jne 9f\n"
    "  mov 16(%rsp), %rcx\n"
    "  mov %rcx, (%rdx)\n"
    "9: pop %rdx\n"
    "  pop %rcx\n"
    "  jmp *original_resolver(%rip)\n");

static run_one_t *run_one;
static int (*touch)(void);
static unsigned number, size;
static unsigned char results[BYTES];

static void *in_thread(void *touched) {
    if (touched) touch();
    *first_site = 0;
    size = run_one(number, results);
    return NULL;
}

static void run(void *touched) {
    pthread_t thread;
    memset(results, 0, sizeof results);
    if (pthread_create(&thread, NULL, in_thread, touched) || pthread_join(thread, NULL)) _exit(3);
}

/* Runs in a child: the results of both threads, or death. */
static int changed(void) {
    static unsigned char expected[BYTES];
    alarm(5);
    run(&number);
    memcpy(expected, results, sizeof expected);
    unsigned known = size;
    run(NULL);
    return known != size || memcmp(expected, results, sizeof expected);
}

int main(int argc, char **argv) {
    setenv("LC_ALL", "C", 1);
    for (int n = 0; n < 64; n++) garbage[n] = 0x35 + 11 * n;
    wide = __builtin_cpu_supports("avx2");
    void *module = dlopen(argv[1], RTLD_NOW);
    struct link_map *map;
    if (!module || dlinfo(module, RTLD_DI_LINKMAP, &map)) return fprintf(stderr, "%s\n", dlerror()), 2;
    run_one = (run_one_t *)dlsym(module, "run_one");
    touch = (int (*)(void))dlsym(module, "touch");
    if (!run_one || !touch) return fprintf(stderr, "no run_one or touch\n"), 2;
    first_site = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (first_site == MAP_FAILED) return perror("mmap"), 2;
    for (int word = 2; word < argc; word++) {
        void **slot = (void **)(map->l_addr + strtoull(argv[word], NULL, 16));
        if (mprotect((void *)((uint64_t)slot & -4096ull), 8192, PROT_READ | PROT_WRITE)) return perror("mprotect"), 2;
        original_resolver = *slot;
        *slot = (void *)noting_resolver;
    }
    for (; run_one(number, results); number++) {
        fflush(stdout);
        *first_site = 0;
        pid_t child = fork();
        if (!child) _exit(changed());
        int status;
        waitpid(child, &status, 0);
        int died = WIFSIGNALED(status) || WEXITSTATUS(status) > 1;
        printf("%u %llx %d\n", number, *first_site ? (unsigned long long)(*first_site - map->l_addr) : 0ull, died ? 2 : WEXITSTATUS(status));
    }
}
