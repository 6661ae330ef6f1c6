/* team.c: an OpenMP team that survives what kills libgomp's.
 *
 * A thread that cannot be created ends the process there, and a forked child that enters a region waits for ever for
 * threads it does not have. So: new threads are tried with pthread_create first, and a fork is prepared for by handing
 * the pool back (omp_pause_resource_all, OpenMP 5.0; where the runtime lacks it, a child runs on one thread).
 *
 * Where other programs, or the idle threads of another library, hold the processors, a team waits for time slices of
 * milliseconds at each barrier. A caller that has waited so in two calls running, for one may have woken its threads,
 * works alone for ten times as long before it asks again.
 */
#define _GNU_SOURCE
#include "team.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double nn_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void nn_read_limits(nn_limits *limits)
{
    const char *variable = getenv("NNFAST_NUM_THREADS");
    memset(limits, 0, sizeof *limits);
    limits->openmp = nn_max_threads();
#ifdef __linux__
    sched_getaffinity(0, sizeof limits->affinity, (cpu_set_t *)limits->affinity);
#endif
    if (variable) memcpy(limits->variable, variable, strnlen(variable, sizeof limits->variable));
}

#ifdef _OPENMP
#include <ctype.h>
#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum { SPINS = 1000, MAX_THREADS = 256 }; /* 1000 pauses: about 20 us */
static const double SLICE = 1e-3;         /* seconds: who waits longer does not wait for work */

typedef struct barrier {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int round;
    double waited; /* seconds of the caller's thread, beyond the spins */
} barrier;

void nn_barrier(const nn_team *team)
{
    if (team->size == 1) return;
    barrier *b = team->barrier;
    const int round = atomic_load_explicit(&b->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == team->size) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&b->round, round + 1, memory_order_release);
        return;
    }
    double since = 0;
    for (int spins = 0; atomic_load_explicit(&b->round, memory_order_acquire) == round; spins++) {
        if (spins > SPINS) {
            if (!since) since = nn_now();
            sched_yield();
            continue;
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    if (since && !team->index) b->waited += nn_now() - since;
}

/* ---- fork ---- */
static int (*pause_pool)(int);
static bool forked;      /* in a child, without pause_pool: stay on one thread */
static atomic_int forks; /* pools from before the last one are gone */

static void before_fork(void)
{
    enum { SOFT = 1 };
    if (pause_pool) pause_pool(SOFT);
    atomic_fetch_add(&forks, 1);
}
static void in_child(void) { forked = !pause_pool; }

__attribute__((constructor)) static void watch_forks(void)
{
    pause_pool = (int (*)(int))dlsym(RTLD_DEFAULT, "omp_pause_resource_all");
    pthread_atfork(before_fork, NULL, in_child);
}

/* ---- threads that may not be had ---- */
static void *wait_for(void *go)
{
    while (sem_wait(go)) {
    }
    return NULL;
}

/* The stack that libgomp gives its threads: OMP_STACKSIZE, in KiB unless it says otherwise; 0: the system's default. */
static size_t stack_size(void)
{
    const char *text = getenv("OMP_STACKSIZE");
    char *unit = NULL;
    const unsigned long long number = text ? strtoull(text, &unit, 10) : 0;
    const char *const units = "BKMG", *at = unit && *unit ? strchr(units, toupper((unsigned char)*unit)) : units + 1;
    return at && number < 1ull << 33 ? (size_t)number << 10 * (at - units) : 0;
}

/* How many threads, the caller's among them, could run at once just now. */
static int available(int wanted)
{
    pthread_t threads[MAX_THREADS];
    pthread_attr_t attributes;
    sem_t go;
    int made = 0;
    if (sem_init(&go, 0, 0)) return 1;
    pthread_attr_init(&attributes);
    if (stack_size()) pthread_attr_setstacksize(&attributes, stack_size());
    while (made < wanted - 1 && !pthread_create(threads + made, &attributes, wait_for, &go)) made++;
    pthread_attr_destroy(&attributes);
    for (int i = 0; i < made; i++) sem_post(&go);
    for (int i = 0; i < made; i++) pthread_join(threads[i], NULL);
    sem_destroy(&go);
    return made + 1;
}

void nn_parallel(int64_t threads, void (*work)(void *, const nn_team *), void *argument)
{
    static _Thread_local int pool = 1, age; /* the last team of this thread, which libgomp keeps; forks before it */
    static _Thread_local double alone;      /* until then */
    static _Thread_local bool late;         /* the last team was */
    if (age != atomic_load(&forks)) pool = 1, age = atomic_load(&forks);
    int wanted = threads < MAX_THREADS ? (int)threads : MAX_THREADS;
    if (forked || omp_in_parallel()) wanted = 1;
    const double start = wanted > 1 ? nn_now() : 0;
    if (start < alone) wanted = 1;
    if (wanted > pool) wanted = available(wanted);
    if (wanted <= 1) {
        work(argument, &(nn_team){0, 1, NULL});
        return;
    }
    pool = wanted;
    barrier shared = {0};
    double done = 0;
#pragma omp parallel num_threads(wanted)
    {
        const int index = omp_get_thread_num();
        work(argument, &(nn_team){index, omp_get_num_threads(), &shared});
        if (!index) done = nn_now();
    }
    const double end = nn_now(), waited = shared.waited + (end - done);
    const bool again = late;
    late = waited > SLICE && 2 * waited > end - start;
    if (late && again) alone = end + 10 * waited;
}

int nn_max_threads(void) { return omp_get_max_threads(); }

#else
int nn_max_threads(void) { return 1; }
void nn_barrier(const nn_team *team) { (void)team; }
void nn_parallel(int64_t threads, void (*work)(void *, const nn_team *), void *argument)
{
    (void)threads;
    work(argument, &(nn_team){0, 1, NULL});
}
#endif
