#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"

enum {
  CACHE_LINE = 64,
  INITIAL_SCRATCH = 256 << 10,
  DEFAULT_SPIN_US = 200,
  LEAST_SPIN_NS = 5000,
  POLLS_PER_CLOCK = 64,
};

typedef int (*parallel_body)(int task, void* environment, void* data);

/* The environment that TVM's parallel loops expect. */
typedef struct {
  void* sync;
  int32_t tasks;
} parallel_environment;

struct optc_worker {
  _Alignas(CACHE_LINE) optc_pool* pool;
  int index; /* 0: the thread that runs the model */
  bool in_task;
  uint32_t seen; /* the last job that this worker knows of */
  int64_t spin_ns;
  optc_scratch scratch;
  pthread_t thread;
};

struct optc_pool {
  /* Written by the caller, polled by the workers. */
  _Alignas(CACHE_LINE) atomic_uint job;
  parallel_body body;
  void* data;
  int tasks;
  /* Written by the workers, polled by the caller. */
  _Alignas(CACHE_LINE) atomic_int pending;
  atomic_int status;
  /* Who sleeps. */
  _Alignas(CACHE_LINE) atomic_int sleepers;
  atomic_bool caller_sleeps;
  atomic_bool stopping;
  pthread_mutex_t mutex;
  pthread_cond_t job_posted, job_done;
  int threads, started;
  bool pin;
  int64_t spin_ns;
  pid_t process; /* workers do not survive a fork */
  atomic_flag message_taken;
  char message[256];
  optc_worker* workers;
};

/* Found by the kernels without a lock: each thread serves at most one pool at a time. */
static _Thread_local optc_worker* current;

int optc_available_cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

static bool job_waits(const optc_worker* worker) { return atomic_load(&worker->pool->job) != worker->seen; }
static bool all_done(const optc_worker* caller) { return atomic_load(&caller->pool->pending) == 0; }

/* Polls for a while; false when the condition still does not hold. The time doubles when polling was worth it and
 * halves when it was not: threads that share a CPU would otherwise keep each other from running. */
static bool poll_until(bool (*holds)(const optc_worker*), optc_worker* worker) {
  if (holds(worker)) return true;
  const int64_t most = worker->pool->spin_ns;
  if (most == 0) return false;
  const int64_t deadline = now_ns() + worker->spin_ns;
  do {
    for (int poll = 0; poll < POLLS_PER_CLOCK; ++poll) {
      if (holds(worker)) {
        worker->spin_ns = 2 * worker->spin_ns < most ? 2 * worker->spin_ns : most;
        return true;
      }
      relax();
    }
  } while (now_ns() < deadline);
  if (worker->spin_ns / 2 >= LEAST_SPIN_NS) worker->spin_ns /= 2;
  return false;
}

static void wait_for_job(optc_worker* worker) {
  if (poll_until(job_waits, worker)) return;
  optc_pool* pool = worker->pool;
  pthread_mutex_lock(&pool->mutex);
  /* Sequentially consistent, as is `job`: either this thread sees the job or the caller sees the sleeper. */
  atomic_fetch_add(&pool->sleepers, 1);
  while (!job_waits(worker)) pthread_cond_wait(&pool->job_posted, &pool->mutex);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->mutex);
}

static void post_job(optc_pool* pool) {
  atomic_fetch_add(&pool->job, 1);
  if (atomic_load(&pool->sleepers) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->job_posted);
  pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_workers(optc_worker* caller) {
  if (poll_until(all_done, caller)) return;
  optc_pool* pool = caller->pool;
  pthread_mutex_lock(&pool->mutex);
  atomic_store(&pool->caller_sleeps, true);
  while (!all_done(caller)) pthread_cond_wait(&pool->job_done, &pool->mutex);
  atomic_store(&pool->caller_sleeps, false);
  pthread_mutex_unlock(&pool->mutex);
}

static void report_done(optc_pool* pool) {
  if (atomic_fetch_sub(&pool->pending, 1) != 1 || !atomic_load(&pool->caller_sleeps)) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_signal(&pool->job_done);
  pthread_mutex_unlock(&pool->mutex);
}

/* Thread i of T runs tasks i, i + T, i + 2T ... */
static void run_share(optc_worker* worker) {
  optc_pool* pool = worker->pool;
  parallel_environment environment = {NULL, pool->tasks};
  worker->in_task = true;
  for (int task = worker->index; task < pool->tasks; task += pool->threads) {
    int status = pool->body(task, &environment, pool->data), none = 0;
    if (status != 0) atomic_compare_exchange_strong(&pool->status, &none, status);
  }
  worker->in_task = false;
}

static void* worker_main(void* argument) {
  optc_worker* worker = argument;
  current = worker;
  for (;;) {
    wait_for_job(worker);
    if (atomic_load(&worker->pool->stopping)) return NULL;
    worker->seen = atomic_load(&worker->pool->job);
    optc_scratch_reset(&worker->scratch);
    run_share(worker);
    report_done(worker->pool);
  }
}

static int launch_serially(parallel_body body, void* data, int tasks) {
  parallel_environment environment = {NULL, tasks > 0 ? tasks : 1};
  for (int task = 0; task < environment.tasks; ++task) {
    const int status = body(task, &environment, data);
    if (status != 0) return status;
  }
  return 0;
}

/* `tasks` 0 means one for each thread. A loop inside of a parallel loop runs in its own thread. */
static int parallel_launch(parallel_body body, void* data, int tasks) {
  optc_worker* caller = current;
  if (!caller || caller->in_task || caller->pool->threads == 1 || tasks == 1) return launch_serially(body, data, tasks);
  optc_pool* pool = caller->pool;
  pool->body = body;
  pool->data = data;
  pool->tasks = tasks > 0 ? tasks : pool->threads;
  atomic_store_explicit(&pool->status, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->pending, pool->threads - 1, memory_order_relaxed);
  post_job(pool);
  run_share(caller);
  wait_for_workers(caller);
  return atomic_load_explicit(&pool->status, memory_order_relaxed);
}

static void* allocate_workspace(int device_type, int device, uint64_t bytes, int dtype_code, int dtype_bits) {
  (void)device_type, (void)device, (void)dtype_code, (void)dtype_bits;
  return current && bytes <= SIZE_MAX ? optc_scratch_take(&current->scratch, (size_t)bytes) : NULL;
}

static int free_workspace(int device_type, int device, void* pointer) {
  (void)device_type, (void)device;
  if (current) optc_scratch_release(&current->scratch, pointer);
  return 0;
}

/* The names that TVM's code generator gives to these services: data symbols, weak and null in the kernel objects. */
int (*__TVMBackendParallelLaunch)(parallel_body, void*, int) = parallel_launch;
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate_workspace;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = free_workspace;

/* Called by kernels with run-time checks; the first message of a run is kept. */
void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  if (!current || atomic_flag_test_and_set(&current->pool->message_taken)) return;
  char* text = current->pool->message;
  size_t length = (size_t)snprintf(text, sizeof current->pool->message, "%s: ", kind);
  for (int32_t part = 0; part < count && length < sizeof current->pool->message; ++part)
    if (parts[part]) length += (size_t)snprintf(text + length, sizeof current->pool->message - length, "%s", parts[part]);
}

static void pin_to_cpu(const optc_worker* worker) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int skip = worker->index % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(worker->thread, sizeof one, &one);
    return;
  }
}

static void stop_workers(optc_pool* pool) {
  atomic_store(&pool->stopping, true);
  post_job(pool);
  for (int index = 1; index <= pool->started; ++index) pthread_join(pool->workers[index].thread, NULL);
  pool->started = 0;
}

/* Signals stay with the application's own threads. */
static bool start_workers(optc_pool* pool) {
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->job_posted, NULL);
  pthread_cond_init(&pool->job_done, NULL);
  atomic_store(&pool->sleepers, 0);
  atomic_store(&pool->stopping, false);
  atomic_store(&pool->caller_sleeps, false);
  pool->started = 0;
  pool->process = getpid();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int index = 1; index < pool->threads; ++index) {
    optc_worker* worker = &pool->workers[index];
    worker->seen = atomic_load(&pool->job);
    worker->in_task = false;
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) break;
    if (pool->pin) pin_to_cpu(worker);
    pool->started = index;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pool->started == pool->threads - 1) return true;
  stop_workers(pool);
  pool->process = 0; /* the next run tries again */
  return false;
}

optc_pool* optc_pool_create(int threads, bool pin, int spin_us) {
  optc_pool* pool = aligned_alloc(CACHE_LINE, sizeof(optc_pool));
  optc_worker* workers = aligned_alloc(CACHE_LINE, sizeof(optc_worker) * (size_t)threads);
  if (!pool || !workers) {
    free(pool);
    free(workers);
    return NULL;
  }
  memset(pool, 0, sizeof *pool);
  memset(workers, 0, sizeof(optc_worker) * (size_t)threads);
  pool->workers = workers;
  pool->threads = threads;
  pool->pin = pin;
  /* Polling helps only while every thread has a CPU of its own. */
  const bool crowded = threads > optc_available_cpus();
  pool->spin_ns = crowded ? 0 : 1000 * (int64_t)(spin_us < 0 ? DEFAULT_SPIN_US : spin_us);
  bool enough = true;
  for (int index = 0; index < threads; ++index) {
    workers[index].pool = pool;
    workers[index].index = index;
    workers[index].spin_ns = pool->spin_ns;
    enough = optc_scratch_init(&workers[index].scratch, INITIAL_SCRATCH) && enough;
  }
  if (enough && start_workers(pool)) return pool;
  optc_pool_destroy(pool);
  return NULL;
}

void optc_pool_destroy(optc_pool* pool) {
  if (!pool) return;
  if (pool->started > 0 && pool->process == getpid()) stop_workers(pool);
  for (int index = 0; index < pool->threads; ++index) optc_scratch_destroy(&pool->workers[index].scratch);
  free(pool->workers);
  free(pool);
}

int optc_pool_threads(const optc_pool* pool) { return pool->threads; }

size_t optc_pool_scratch_bytes(const optc_pool* pool) {
  size_t bytes = 0;
  for (int index = 0; index < pool->threads; ++index) bytes += pool->workers[index].scratch.capacity;
  return bytes;
}

bool optc_pool_enter(optc_pool* pool, optc_worker** previous) {
  if (pool->threads > 1 && pool->process != getpid() && !start_workers(pool)) return false;
  *previous = current;
  current = &pool->workers[0];
  optc_scratch_reset(&current->scratch);
  pool->message[0] = 0;
  atomic_flag_clear(&pool->message_taken);
  return true;
}

void optc_pool_leave(optc_pool* pool, optc_worker* previous) {
  (void)pool;
  current = previous;
}

const char* optc_pool_message(const optc_pool* pool) { return pool->message; }
