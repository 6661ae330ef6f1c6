/* cpu.c: which tables this build has, and which of them this processor runs. */
#include <string.h>

#include "nnfast.h"

#define DECLARE(isa) extern const nn_table nn_table_f32_##isa, nn_table_f64_##isa;
#define TABLES(isa) &nn_table_f32_##isa, &nn_table_f64_##isa

#if defined(__x86_64__)
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
static const nn_table *const tables[] = {TABLES(avx512), TABLES(avx2), TABLES(baseline)};

static int runs(const char *isa)
{
    __builtin_cpu_init();
    const int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (!strcmp(isa, "avx512"))
        return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512cd");
    if (!strcmp(isa, "avx2")) return v3;
    return __builtin_cpu_supports("sse4.2") != 0;
}
#else
DECLARE(neon)
static const nn_table *const tables[] = {TABLES(neon)};
static int runs(const char *isa) { return isa != NULL; }
#endif

/* Best first, float before double; NULL behind the last. */
const nn_table *nn_table_at(int index)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (runs(tables[i]->isa) && index-- == 0) return tables[i];
    return NULL;
}
