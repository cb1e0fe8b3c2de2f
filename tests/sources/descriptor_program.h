/* What every random program of tests/support/descriptor_programs.py begins with. */
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef double pair __attribute__((vector_size(16)));
typedef float quad __attribute__((vector_size(16)));
typedef int ints __attribute__((vector_size(16)));
struct node {
    double x, y;
    long n;
    float f[4];
};

static __thread double t_d0 = 1.5, t_d1 = 2.5;
__thread float t_f0 = 0.5f;
static __thread long t_l0 = 3;
__thread int t_i0 = 4, t_i1 = 5;
static __thread struct node t_s = {1, 2, 3, {4, 5, 6, 7}};
static __thread double t_a[4] = {1, 2, 3, 4};
static __thread pair t_p = {1, 2};
static __thread unsigned char t_b[24];
static char text[64];

static void put(unsigned char **at, double value) {
    memcpy(*at, &value, 8);
    *at += 8;
}

#ifdef __cplusplus
#include <string>
#include <vector>

struct shape {
    double scale;
    explicit shape(double s) : scale(s) {}
    virtual ~shape() {}
    virtual double area(double x) const { return t_l0++, scale * x; }
};
struct ring : shape {
    using shape::shape;
    double area(double x) const override { return t_d1 += x, scale * x * x - t_d1; }
};
struct counter {
    long n;
    double weight;
    counter() : n(3), weight(0.25) {}
};
static thread_local counter t_counter;
static thread_local std::vector<double> t_vector{1.0, 2.0};
template <typename T> static T blend(T a, T b, T w) {
    t_i1++;
    return a + (b - a) * w;
}
#endif

static void reset(void) {
    t_d0 = 1.5; t_d1 = 2.5; t_f0 = 0.5f; t_l0 = 3; t_i0 = 4; t_i1 = 5;
    t_p = (pair){1, 2};
    t_s.x = 1; t_s.y = 2; t_s.n = 3;
    for (int i = 0; i < 4; i++) { t_s.f[i] = 4 + i; t_a[i] = i; }
    memset(t_b, 7, sizeof t_b);
#ifdef __cplusplus
    t_counter.n = 3; t_vector[0] = 1; t_vector[1] = 2;
#endif
}

static void put_variables(unsigned char **at) {
    put(at, t_d0); put(at, t_d1); put(at, t_f0); put(at, t_l0); put(at, t_i0 + t_i1);
    put(at, t_s.x + t_a[1] + t_a[2]); put(at, t_p[0]);
    memcpy(*at, t_b, sizeof t_b);
    *at += sizeof t_b;
}
