/* team.h: the one parallel region. Compiled once, for all ISAs. */
#ifndef NN_TEAM_H
#define NN_TEAM_H

#include <stdint.h>

typedef struct nn_team {
    int index, size;
    struct barrier *barrier;
} nn_team;

/* Runs work on at most `threads` threads; fewer, when the system gives fewer: work must not assume the size. */
void nn_parallel(int64_t threads, void (*work)(void *argument, const nn_team *team), void *argument);
/* All of the team arrive before one goes on. Spins for some microseconds, then yields. */
void nn_barrier(const nn_team *team);
/* Threads that OpenMP would use: its environment variables and callers' settings. 1 without OpenMP. */
int nn_max_threads(void);
/* What the default number of threads depends on and may change while a process runs; compared as bytes. */
typedef struct nn_limits {
    int openmp;
    unsigned char affinity[128];
    char variable[16]; /* the beginning of NNFAST_NUM_THREADS */
} nn_limits;
void nn_read_limits(nn_limits *limits);
/* seconds of a clock that never goes back */
double nn_now(void);
#endif
