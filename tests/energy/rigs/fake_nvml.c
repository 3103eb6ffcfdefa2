/* A libnvidia-ml.so.1 without a GPU. The real nvidia-ml-py loads it.
 *
 * Its state is in the file named by FAKE_NVML_STATE, which is mapped into memory. So a test in this
 * or another process can change the state at any time. The layout is that of fake_nvml.py, which
 * checks fake_nvml_state_size().
 *
 * Each GPU has a log of (instant, watts) steps. The counter's joules and the true joules follow
 * exactly from it. The counter is updated on ticks only, like the real one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GPUS = 8, MAX_STEPS = 16384 };
enum { SM_CLOCK = 1, POWER_POLICY = 0, THERMAL_POLICY = 1 };
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9 };

struct step { double at_s, watts, joules_before; };

struct gpu {
    char name[64], uuid[64], mig_uuid[64];
    int32_t handle_error, energy_error, power_error, mig_mode; /* mig_mode -1: not supported */
    int32_t clock_error, reasons_error, violation_error, mhz;
    int64_t reasons, power_ns, thermal_ns; /* the last two: so far, held down by a limit */
    double update_interval_s, jitter_s, origin_s, joules_at_origin;
    int64_t step_count;
    struct step steps[MAX_STEPS];
};

struct state {
    int32_t init_error, any_error, gpu_count, starts;
    struct gpu gpus[MAX_GPUS];
};

static struct state *state;

size_t fake_nvml_state_size(void) { return sizeof(struct state); }

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A number in [0, 1) that depends on the tick only, so every reader sees the same jitter. */
static double noise(int64_t tick) {
    uint64_t x = (uint64_t)tick * 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return (double)(x >> 11) / 9007199254740992.0;
}

static double tick_at_s(const struct gpu *g, int64_t tick) {
    return g->origin_s + (double)tick * g->update_interval_s + g->jitter_s * noise(tick);
}

static double last_tick_s(const struct gpu *g, double t) {
    int64_t tick = (int64_t)floor((t - g->origin_s) / g->update_interval_s);
    if (tick_at_s(g, tick) > t) tick--;
    return tick_at_s(g, tick);
}

static const struct step *step_at(const struct gpu *g, double t) {
    int64_t i = g->step_count - 1;
    while (i > 0 && g->steps[i].at_s > t) i--;
    return &g->steps[i];
}

static double joules_at(const struct gpu *g, double t) {
    const struct step *s = step_at(g, t);
    return t <= s->at_s ? s->joules_before : s->joules_before + s->watts * (t - s->at_s);
}

static int refused(const struct gpu *g, int error) {
    if (!state) return UNINITIALIZED;
    if (state->any_error) return state->any_error;
    if (!g) return INVALID_ARGUMENT;
    return error;
}

int nvmlInitWithFlags(unsigned flags) {
    const char *path = getenv("FAKE_NVML_STATE");
    int file = path ? open(path, O_RDWR) : -1;
    (void)flags;
    if (file < 0) return DRIVER_NOT_LOADED;
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return DRIVER_NOT_LOADED;
    state = mapped;
    if (state->init_error) return state->init_error;
    state->starts++;
    return SUCCESS;
}

int nvmlShutdown(void) {
    if (!state) return UNINITIALIZED;
    state->starts--;
    return state->any_error;
}

const char *nvmlErrorString(int code) {
    static char text[64];
    snprintf(text, sizeof text, "fake NVML error %d", code);
    return text;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!state) return UNINITIALIZED;
    *count = (unsigned)state->gpu_count;
    return state->any_error;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **handle) {
    if (!state) return UNINITIALIZED;
    if (index >= (unsigned)state->gpu_count) return INVALID_ARGUMENT;
    *handle = &state->gpus[index];
    return refused(*handle, (*handle)->handle_error);
}

int nvmlDeviceGetName(struct gpu *g, char *name, unsigned length) {
    int error = refused(g, SUCCESS);
    if (!error) snprintf(name, length, "%s", g->name);
    return error;
}

int nvmlDeviceGetUUID(struct gpu *g, char *uuid, unsigned length) {
    int error = refused(g, SUCCESS);
    if (!error) snprintf(uuid, length, "%s", g->uuid);
    return error;
}

/* A MIG instance has its GPU's handle: the tests have one instance per GPU. */
int nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **handle) {
    if (!state) return UNINITIALIZED;
    for (int i = 0; i < state->gpu_count; i++)
        if (!strcmp(uuid, state->gpus[i].mig_uuid)) {
            *handle = &state->gpus[i];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct gpu *instance, struct gpu **gpu) {
    *gpu = instance;
    return refused(instance, SUCCESS);
}

int nvmlDeviceGetIndex(struct gpu *g, unsigned *index) {
    *index = (unsigned)(g - state->gpus);
    return refused(g, SUCCESS);
}

int nvmlDeviceGetTotalEnergyConsumption(struct gpu *g, unsigned long long *millijoules) {
    int error = refused(g, g ? g->energy_error : 0);
    if (!error) *millijoules = (unsigned long long)(1e3 * (g->joules_at_origin + joules_at(g, last_tick_s(g, now_s()))));
    return error;
}

int nvmlDeviceGetPowerUsage(struct gpu *g, unsigned *milliwatts) {
    int error = refused(g, g ? g->power_error : 0);
    if (!error) *milliwatts = (unsigned)(1e3 * step_at(g, now_s())->watts + 0.5);
    return error;
}

int nvmlDeviceGetMigMode(struct gpu *g, unsigned *current, unsigned *pending) {
    int error = refused(g, g && g->mig_mode < 0 ? NOT_SUPPORTED : SUCCESS);
    if (!error) *current = *pending = (unsigned)g->mig_mode;
    return error;
}

int nvmlDeviceGetClockInfo(struct gpu *g, int type, unsigned *mhz) {
    int error = refused(g, g ? g->clock_error : 0);
    if (type != SM_CLOCK) return INVALID_ARGUMENT;
    if (!error) *mhz = (unsigned)g->mhz;
    return error;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(struct gpu *g, unsigned long long *reasons) {
    int error = refused(g, g ? g->reasons_error : 0);
    if (!error) *reasons = (unsigned long long)g->reasons;
    return error;
}

int nvmlDeviceGetViolationStatus(struct gpu *g, int policy, unsigned long long *times) {
    int error = refused(g, g ? g->violation_error : 0);
    if (policy != POWER_POLICY && policy != THERMAL_POLICY) return INVALID_ARGUMENT;
    if (!error) {
        times[0] = (unsigned long long)(1e6 * now_s());
        times[1] = (unsigned long long)(policy == POWER_POLICY ? g->power_ns : g->thermal_ns);
    }
    return error;
}
