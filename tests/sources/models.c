/* One variable for each way to reach a thread-local variable from a shared object. */
static __thread int own_default[5] = {1, 2, 3, 4, 5};
__thread int exported = 7;
extern __thread int foreign __attribute__((tls_model("initial-exec")));
extern __thread int foreign_weak __attribute__((weak, tls_model("initial-exec")));
extern __thread int foreign_dynamic __attribute__((tls_model("global-dynamic")));
static __thread int own_local_dynamic __attribute__((tls_model("local-dynamic")));
static __thread int own_initial_exec __attribute__((tls_model("initial-exec"))) = 3;

int *a(int i) { return own_default + i; }
int *b(void) { return &exported; }
int *c(void) { return &foreign; }
int *d(void) { return &foreign_weak; }
int *e(void) { return &foreign_dynamic; }
int *f(void) { return &own_local_dynamic; }
int *g(void) { return &own_initial_exec; }
