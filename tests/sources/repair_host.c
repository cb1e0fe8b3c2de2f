/* Opens a shared object and runs it as a test asks; every answer is a line of text, so that two objects can be compared by their output.
   With -DCLOBBER its malloc and calloc overwrite every register that a call may overwrite: what a thread's first access then loses is seen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef UNWIND
#include <unwind.h>
#endif

static volatile long slow_calls, misaligned, armed;
static int wide; /* 0: xmm, 1: ymm, 2: zmm and masks */

#ifdef UNWIND
/* The function that called into the object, and the stack pointer that it had after the call: an unwinder must find both. */
static void *calling(void *);
static void *stepping(void *);
static __thread uintptr_t stack_of_caller;
struct walk { int frames, found; };
static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *data)
{
    struct walk *walk = data;
    void *function = _Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1));
    if (function == (void *)calling || function == (void *)stepping)
        walk->found = !stack_of_caller || _Unwind_GetCFA(context) == stack_of_caller ? 1 : -1;
    return ++walk->frames < 60 && !walk->found ? _URC_NO_REASON : _URC_END_OF_STACK;
}
static int caller_is_found(void)
{
    struct walk walk = {0, 0};
    _Unwind_Backtrace(frame, &walk);
    return walk.found > 0;
}
#else
static int caller_is_found(void) { return 1; }
#endif
static volatile long walks, lost_walks;

#ifdef CLOBBER
static char pool[64 << 20] __attribute__((aligned(64)));
static volatile size_t pool_used;
#ifdef __aarch64__
static void destroy(void)
{
    uintptr_t stack_at;
    __asm__ volatile("mov %0, sp" : "=r"(stack_at));
    if (stack_at & 15)
        misaligned++;
    /* Of v8 to v15 a callee keeps the lower half. */
    __asm__ volatile(
        ".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n movi v\\n\\().16b, #0xff\n .endr\n"
        ".irp n,8,9,10,11,12,13,14,15\n mov v\\n\\().d[1], xzr\n .endr\n" :::
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
        "v28", "v29", "v30", "v31", "memory");
    __asm__ volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18\n mov x\\n, #-1\n .endr\n msr nzcv, x0\n" :::
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "cc", "memory");
}
#else
static void destroy(void)
{
    uintptr_t frame_at;
    __asm__ volatile("mov %%rbp, %0" : "=r"(frame_at));
    if (frame_at & 15)
        misaligned++;
    if (wide == 2)
        __asm__ volatile(
            "vpternlogd $0xff,%%zmm16,%%zmm16,%%zmm16\n vmovdqa64 %%zmm16,%%zmm17\n vmovdqa64 %%zmm16,%%zmm18\n vmovdqa64 %%zmm16,%%zmm19\n"
            "vmovdqa64 %%zmm16,%%zmm20\n vmovdqa64 %%zmm16,%%zmm21\n vmovdqa64 %%zmm16,%%zmm22\n vmovdqa64 %%zmm16,%%zmm23\n"
            "vmovdqa64 %%zmm16,%%zmm24\n vmovdqa64 %%zmm16,%%zmm25\n vmovdqa64 %%zmm16,%%zmm26\n vmovdqa64 %%zmm16,%%zmm27\n"
            "vmovdqa64 %%zmm16,%%zmm28\n vmovdqa64 %%zmm16,%%zmm29\n vmovdqa64 %%zmm16,%%zmm30\n vmovdqa64 %%zmm16,%%zmm31\n"
            "kxnorq %%k1,%%k1,%%k1\n kxnorq %%k2,%%k2,%%k2\n kxnorq %%k7,%%k7,%%k7\n vzeroall\n" ::: "memory");
    else if (wide == 1)
        __asm__ volatile("vzeroall" ::: "memory");
    __asm__ volatile(
        "pcmpeqd %%xmm0,%%xmm0\n movdqa %%xmm0,%%xmm1\n movdqa %%xmm0,%%xmm2\n movdqa %%xmm0,%%xmm3\n movdqa %%xmm0,%%xmm4\n movdqa %%xmm0,%%xmm5\n"
        "movdqa %%xmm0,%%xmm6\n movdqa %%xmm0,%%xmm7\n movdqa %%xmm0,%%xmm8\n movdqa %%xmm0,%%xmm9\n movdqa %%xmm0,%%xmm10\n movdqa %%xmm0,%%xmm11\n"
        "movdqa %%xmm0,%%xmm12\n movdqa %%xmm0,%%xmm13\n movdqa %%xmm0,%%xmm14\n movdqa %%xmm0,%%xmm15\n" ::: "memory");
    __asm__ volatile("mov $-1,%%rcx\n mov %%rcx,%%rdx\n mov %%rcx,%%rsi\n mov %%rcx,%%rdi\n mov %%rcx,%%r8\n mov %%rcx,%%r9\n mov %%rcx,%%r10\n"
                     "mov %%rcx,%%r11\n" ::: "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
}
#endif
static void *take(size_t size)
{
    size_t at = __atomic_fetch_add(&pool_used, (size + 79) & ~(size_t)63, __ATOMIC_RELAXED);
    if (at + size + 80 > sizeof pool)
        abort();
    *(size_t *)(pool + at) = size;
    if (armed) {
        armed = 0; /* an unwinder may allocate memory itself */
        slow_calls++;
        walks++;
        if (!caller_is_found())
            lost_walks++;
        armed = 1;
    }
    return pool + at + 16;
}
void *malloc(size_t size) { void *made = take(size); if (armed) destroy(); return made; }
void *calloc(size_t count, size_t size) { void *made = take(count * size); if (armed) destroy(); return made; }
void *memalign(size_t align, size_t size)
{
    uintptr_t made = (uintptr_t)take(size + align);
    if (armed) destroy();
    return (void *)((made + align - 1) & ~(uintptr_t)(align - 1));
}
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **made, size_t align, size_t size) { *made = memalign(align, size); return 0; }
void free(void *old) { (void)old; }
void *realloc(void *old, size_t size)
{
    void *made = take(size);
    if (old) {
        size_t had = *(size_t *)((char *)old - 16);
        memcpy(made, old, had < size ? had : size);
    }
    if (armed) destroy();
    return made;
}
#endif

static void *need(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) { printf("no %s\n", name); exit(3); }
    return found;
}
static void *library_at(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library) { printf("!%s\n", dlerror()); exit(0); }
    return library;
}

/* values LIBRARY THREADS ROUNDS: work(seed) of each thread, and of main between them */
typedef unsigned long work_function(unsigned long);
static work_function *work;
static int rounds;
static unsigned long results[256];
static void *worker(void *argument)
{
    unsigned long sum = 0, number = (unsigned long)(uintptr_t)argument;
    for (int i = 0; i < rounds; i++)
        sum = sum * 31 + work(number * 1000 + i);
    results[number] = sum;
    return 0;
}
static void values(int threads)
{
    pthread_t made[256];
    for (long i = 0; i < threads; i++)
        pthread_create(&made[i], 0, worker, (void *)i);
    worker((void *)(long)threads);
    for (int i = 0; i < threads; i++)
        pthread_join(made[i], 0);
    for (int i = 0; i <= threads; i++)
        printf("%lx\n", results[i]);
}

/* probes LIBRARY COUNT: each probe in a thread of its own, then all of them again in main, where the block is there already */
typedef void probe_function(void);
static unsigned char *dump;
static long dump_size;
static probe_function *probe;
static void *calling(void *argument)
{
    (void)argument;
    armed = 1;
    probe();
    armed = 0;
    return 0;
}
static void print_dump(const char *name)
{
    printf("%s ", name);
    for (long i = 0; i < dump_size; i++)
        printf("%02x", dump[i]);
    printf("\n");
}
static void probes(void *library, int count)
{
    long before;
    char name[64];
    dump = need(library, "probe_dump");
    dump_size = *(long *)need(library, "probe_dump_size");
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        snprintf(name, sizeof name, "probe_%d", i);
        probe = (probe_function *)need(library, name);
        memset(dump, 0, dump_size);
        before = slow_calls;
        pthread_create(&thread, 0, calling, 0);
        pthread_join(thread, 0);
        print_dump(name);
        fprintf(stderr, "%s %s\n", name, slow_calls > before ? "slow" : "fast");
        memset(dump, 0, dump_size);
        calling(0);
        print_dump(name);
    }
    fprintf(stderr, "misaligned %ld walks %ld lost %ld\n", misaligned, walks, lost_walks);
}

/* steps LIBRARY COUNT: single steps through each probe; at each instruction of the object an unwinder must find this program */
static uintptr_t object_start, object_end;
static volatile long steps, lost_steps, first_lost;
static void look(uintptr_t at, uintptr_t stack_before_call)
{
    (void)stack_before_call;
#ifdef UNWIND
    if (at == (uintptr_t)probe)
        stack_of_caller = stack_before_call;
#endif
    steps++;
    if (!caller_is_found() && !lost_steps++)
        first_lost = at - object_start;
}
#ifdef __aarch64__
/* An emulator of processes has no trap flag: a breakpoint stands at the next instruction, or at both where a branch has a condition. */
static struct { uint32_t *at, had; } planted[4];
static void plant(uintptr_t at)
{
    if (at < object_start || at >= object_end)
        return;
    for (int i = 0; i < 4; i++) {
        if (planted[i].at == (uint32_t *)at)
            return;
        if (!planted[i].at) {
            mprotect((void *)(at & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
            planted[i].at = (uint32_t *)at;
            planted[i].had = *(uint32_t *)at;
            *(uint32_t *)at = 0xd4200000; /* brk #0 */
            __builtin___clear_cache((char *)at, (char *)at + 4);
            return;
        }
    }
    abort();
}
static void pull_all(void)
{
    for (int i = 0; i < 4; i++)
        if (planted[i].at) {
            *planted[i].at = planted[i].had;
            __builtin___clear_cache((char *)planted[i].at, (char *)planted[i].at + 4);
            planted[i].at = 0;
        }
}
static uintptr_t away(uintptr_t at, uint32_t word, int low, int bits)
{
    return at + 4 * ((int64_t)((uint64_t)(word >> low) << (64 - bits)) >> (64 - bits));
}
static void on_step(int number, siginfo_t *info, void *context)
{
    mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
    uintptr_t at = registers->pc;
    (void)number; (void)info;
    pull_all();
    uint32_t word = *(uint32_t *)at;
    if (word == 0xd4200000) { printf("a breakpoint of somebody else at %lx\n", at - object_start); exit(4); }
    look(at, registers->sp);
    int immediate = (word & 0x7c000000) == 0x14000000, by_register = (word & 0xfe000000) == 0xd6000000;
    int links = immediate ? word >> 31 : by_register && (word >> 21 & 3) == 1;
    if (immediate)
        plant(away(at, word, 0, 26));
    else if (by_register)
        plant(registers->regs[word >> 5 & 31]);
    else if ((word & 0xff000010) == 0x54000000 || (word & 0x7e000000) == 0x34000000)
        plant(away(at, word, 5, 19));
    else if ((word & 0x7e000000) == 0x36000000)
        plant(away(at, word, 5, 14));
    if ((!immediate && !by_register) || links)
        plant(at + 4);
}
static void *stepping(void *argument)
{
    (void)argument;
    plant((uintptr_t)probe);
    probe();
    pull_all();
    return 0;
}
#else
static void on_step(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = registers[REG_RIP];
    (void)number; (void)info;
    if (at >= object_start && at < object_end)
        look(at, registers[REG_RSP] + 8);
}
static void *stepping(void *argument)
{
    (void)argument;
    __asm__ volatile("pushfq\n orq $0x100,(%%rsp)\n popfq" ::: "memory", "cc");
    probe();
    __asm__ volatile("pushfq\n andq $~0x100,(%%rsp)\n popfq" ::: "memory", "cc");
    return 0;
}
#endif
static int span(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size; (void)data;
    if (info->dlpi_addr == object_start)
        for (int i = 0; i < info->dlpi_phnum; i++)
            if (info->dlpi_phdr[i].p_type == PT_LOAD)
                object_end = object_start + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
    return 0;
}
static void step_through(void *library, int count)
{
    struct sigaction action;
    Dl_info where;
    char name[64];
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, 0);
    dladdr(need(library, "step_0"), &where);
    object_start = (uintptr_t)where.dli_fbase;
    dl_iterate_phdr(span, 0);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        snprintf(name, sizeof name, "step_%d", i);
        probe = (probe_function *)need(library, name);
        pthread_create(&thread, 0, stepping, 0);
        pthread_join(thread, 0);
    }
    printf("steps %ld lost %ld first %lx\n", steps, lost_steps, first_lost);
}

/* threads LIBRARY COUNT: many threads, one after another in groups of eight; the memory that is held at the end */
static long resident(void)
{
    long total, held = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &total, &held) != 2) held = -1;
    if (file) fclose(file);
    return held * 4;
}
static void many_threads(int count)
{
    long after_first = 0, wrong = 0;
    rounds = 1;
    unsigned long expected = 0;
    for (int done = 0; done < count; done += 8) {
        pthread_t made[8];
        for (long i = 0; i < 8; i++)
            pthread_create(&made[i], 0, worker, 0);
        for (int i = 0; i < 8; i++)
            pthread_join(made[i], 0);
        if (!done) expected = results[0];
        wrong += results[0] != expected;
        if (done == 800) after_first = resident();
    }
    printf("wrong %ld grown %s\n", wrong, count < 1600 || resident() - after_first < 1024 ? "no" : "yes");
}

/* reopen LIBRARY COUNT: opened, used in long-lived threads, closed, again and again */
static pthread_barrier_t before_use, after_use;
static volatile int ending;
static volatile long wrong_values;
static unsigned long expected_values[16];
static void *long_lived(void *argument)
{
    long number = (long)(uintptr_t)argument;
    for (;;) {
        pthread_barrier_wait(&before_use);
        if (ending) return 0;
        unsigned long found = work(number);
        if (!expected_values[number]) expected_values[number] = found;
        if (expected_values[number] != found) wrong_values++;
        pthread_barrier_wait(&after_use);
    }
}
static void reopen(const char *path, const char *other, int count)
{
    pthread_t made[6];
    pthread_barrier_init(&before_use, 0, 7);
    pthread_barrier_init(&after_use, 0, 7);
    for (long i = 0; i < 6; i++)
        pthread_create(&made[i], 0, long_lived, (void *)i);
    for (int i = 0; i < count; i++) {
        void *beside = i % 3 == 0 ? dlopen(other, RTLD_NOW) : 0;
        void *library = library_at(path);
        work = (work_function *)need(library, "work");
        pthread_barrier_wait(&before_use);
        pthread_barrier_wait(&after_use);
        dlclose(library);
        if (beside) dlclose(beside);
    }
    ending = 1;
    pthread_barrier_wait(&before_use);
    for (int i = 0; i < 6; i++) pthread_join(made[i], 0);
    printf("wrong %ld\n", wrong_values);
}

/* signals LIBRARY: a handler that uses the object interrupts code that uses it */
static volatile long interrupts;
static void (*interrupt)(void);
static unsigned long (*ticked)(void);
static unsigned long ticks_seen;
static void on_signal(int number) { (void)number; interrupts++; interrupt(); }
static void *pestered(void *argument)
{
    worker(argument);
    ticks_seen = ticked();
    return 0;
}
static void signals(void *library)
{
    struct sigaction action;
    pthread_t thread;
    interrupt = (void (*)(void))need(library, "interrupt");
    ticked = (unsigned long (*)(void))need(library, "ticked");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, 0);
    rounds = 4000;
    pthread_create(&thread, 0, pestered, (void *)1);
    for (int i = 0; i < 500; i++) { usleep(100); pthread_kill(thread, SIGUSR1); }
    pthread_join(thread, 0);
    printf("%lx %s\n", results[1], interrupts > 0 && ticks_seen > 0 ? "interrupted" : "never interrupted");
}

/* fork LIBRARY: children of a thread that used the object and of one that did not */
static void *forking(void *argument)
{
    if (argument) work(3);
    fflush(stdout);
    pid_t child = fork();
    if (!child) { printf("child %lx\n", work(5)); fflush(stdout); _exit(0); }
    waitpid(child, 0, 0);
    return 0;
}
static void forks(void)
{
    for (long used = 0; used < 2; used++) {
        pthread_t thread;
        pthread_create(&thread, 0, forking, (void *)used);
        pthread_join(thread, 0);
    }
    printf("parent %lx\n", work(5));
}

/* fill FOLDER objects until none loads: uses the room for static TLS up */
static void fill(const char *list)
{
    char *copy = strdup(list), *save = 0;
    int loaded = 0;
    for (char *path = strtok_r(copy, ":", &save); path; path = strtok_r(0, ":", &save))
        loaded += dlopen(path, RTLD_NOW) != 0;
    fprintf(stderr, "filled by %d\n", loaded);
}

int main(int count, char **words)
{
    const char *mode = words[1], *path = words[2];
    setvbuf(stdout, 0, _IOLBF, 0);
    if (getenv("FILL")) fill(getenv("FILL"));
    if (!strcmp(mode, "reopen")) { reopen(path, words[3], atoi(words[4])); return 0; }
    void *library = library_at(path);
    if (!strcmp(mode, "load")) { printf("loads\n"); return 0; }
    if (!strcmp(mode, "probes") || !strcmp(mode, "steps")) {
        wide = count > 4 ? atoi(words[4]) : 0;
        if (!strcmp(mode, "probes")) probes(library, atoi(words[3]));
        else step_through(library, atoi(words[3]));
        return 0;
    }
    work = (work_function *)need(library, "work");
    if (!strcmp(mode, "whole")) { /* values, probes and steps in turn: THREADS ROUNDS PROBES STEPS */
        rounds = atoi(words[4]);
        values(atoi(words[3]));
        probes(library, atoi(words[5]));
        if (atoi(words[6])) step_through(library, atoi(words[6]));
    }
    else if (!strcmp(mode, "values")) { rounds = atoi(words[4]); values(atoi(words[3])); }
    else if (!strcmp(mode, "threads")) many_threads(atoi(words[3]));
    else if (!strcmp(mode, "signals")) signals(library);
    else if (!strcmp(mode, "fork")) forks();
    else return 2;
    return 0;
}
