/* A host whose malloc destroys every vector register, and which runs each function of a module as a new thread's first use of its TLS.
 *
 * usage: first_use MODULE SLOT...      (hexadecimal offsets of the descriptors from the load address)
 * The module exports  unsigned run_one(unsigned number, unsigned char *results)  and  int touch(void), which reads a thread-local variable.
 * Prints for each function: its number, whether its results are those of a thread that had called touch() before (0 the same, 1 changed,
 * 2 died), and the offsets behind the descriptor calls that it made as a first use, the first of them first.
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

enum { BYTES = 1024, CODE = 4 << 20 };
typedef unsigned run_one_t(unsigned, unsigned char *);

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static unsigned char garbage[64];
static int wide; /* 0: xmm, 1: ymm, 2: zmm and k */

static void destroy(void) {
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movups (%0), %%xmm\\n\n.endr" ::"r"(garbage));
    if (wide) __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovups (%0), %%ymm\\n\n.endr" ::"r"(garbage));
    if (wide > 1)
        __asm__ volatile(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n vmovups (%0), %%zmm\\n\n.endr\n"
            ".irp n,1,2,3,4,5,6,7\n kmovq (%0), %%k\\n\n.endr" ::"r"(garbage));
}

/* An allocator may do this: the calling convention keeps no vector register. */
void *malloc(size_t size) { void *made = __libc_malloc(size); return destroy(), made; }
void *calloc(size_t n, size_t size) { void *made = __libc_calloc(n, size); return destroy(), made; }
void *realloc(void *old, size_t size) { void *made = __libc_realloc(old, size); return destroy(), made; }

void *original_resolver;
/* By the distance from the load address. The shared ones are seen by the parent too. */
struct calls { uint64_t first; unsigned char made[CODE]; } *calls, *shared;
uint64_t base;
void noting_resolver(void);
__asm__(
    ".globl noting_resolver\n"
    "noting_resolver:\n"
    "  push %rcx\n"
    "  push %rdx\n"
    "  mov calls(%rip), %rdx\n"
    "  mov 16(%rsp), %rcx\n"
    "  sub base(%rip), %rcx\n"
    "  movb $1, 8(%rdx, %rcx)\n"
    "  cmpq $0, (%rdx)\n"
    "  jne 9f\n"
    "  mov %rcx, (%rdx)\n"
    "9: pop %rdx\n"
    "  pop %rcx\n"
    "  jmp *original_resolver(%rip)\n");

/* The program calls this before it looks at its variables: those calls are not its functions'. */
void made_all(void) {
    static struct calls later = {1};
    calls = &later;
}

static run_one_t *run_one;
static int (*touch)(void);
static unsigned number, size;
static unsigned char results[BYTES];

static void *in_thread(void *touched) {
    if (touched) touch();
    calls = shared;
    memset(calls, 0, sizeof *calls);
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
    wide = __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx2");
    void *module = dlopen(argv[1], RTLD_NOW);
    struct link_map *map;
    if (!module || dlinfo(module, RTLD_DI_LINKMAP, &map)) return fprintf(stderr, "%s\n", dlerror()), 2;
    run_one = (run_one_t *)dlsym(module, "run_one");
    touch = (int (*)(void))dlsym(module, "touch");
    if (!run_one || !touch) return fprintf(stderr, "no run_one or touch\n"), 2;
    base = map->l_addr;
    shared = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    calls = shared;
    if (shared == MAP_FAILED) return perror("mmap"), 2;
    for (int word = 2; word < argc; word++) {
        void **slot = (void **)(map->l_addr + strtoull(argv[word], NULL, 16));
        if (mprotect((void *)((uint64_t)slot & -4096ull), 8192, PROT_READ | PROT_WRITE)) return perror("mprotect"), 2;
        original_resolver = *slot;
        *slot = (void *)noting_resolver;
    }
    touch();
    for (; run_one(number, results); number++) {
        calls = shared;
        fflush(stdout);
        pid_t child = fork();
        if (!child) _exit(changed());
        int status;
        waitpid(child, &status, 0);
        int died = WIFSIGNALED(status) || WEXITSTATUS(status) > 1;
        printf("%u %d", number, died ? 2 : WEXITSTATUS(status));
        if (shared->first) printf(" %llx", (unsigned long long)shared->first);
        for (uint64_t at = 0; at < CODE; at++)
            if (shared->made[at] && at != shared->first) printf(" %llx", (unsigned long long)at);
        puts("");
    }
}
