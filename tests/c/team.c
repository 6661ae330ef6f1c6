/* team.c: prints the sizes of four teams. In two the caller waits at the end; with an argument, at a barrier. */
#include <stdio.h>
#include <time.h>

#include "team.h"

static int barrier, late = 1;

static void nap(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static void work(void *size, const nn_team *team)
{
    if (!team->index)
        *(int *)size = team->size;
    else if (late)
        nap(0.02);
    if (barrier) nn_barrier(team);
}

int main(int n, char **arguments)
{
    (void)arguments;
    int sizes[4];
    barrier = n > 1;
    nn_parallel(2, work, sizes);
    const double start = nn_now();
    nn_parallel(2, work, sizes + 1);
    const double taken = nn_now() - start;
    late = 0;
    nn_parallel(2, work, sizes + 2);
    nap(11 * taken);
    nn_parallel(2, work, sizes + 3);
    printf("%d %d %d %d\n", sizes[0], sizes[1], sizes[2], sizes[3]);
}
