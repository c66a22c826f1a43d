/* Uses the sink from a thread of its own. */
#include "plugin.h"

#include <pthread.h>

static void* from_elsewhere(void* context) {
  const sluice_sink* sink = (const sluice_sink*)context;
  sluice_record record = zoo_record("w1", NULL, 0);
  sink->record(sink->ctx, &record);
  return NULL;
}

static sluice_status step(ARGS) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, from_elsewhere, (void*)(uintptr_t)sink) != 0)
    return SLUICE_E_INTERNAL;
  pthread_join(thread, NULL);
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
