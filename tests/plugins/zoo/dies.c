/* Ends its host, as the config's colour says: "<where> <how>". Where: load, open, check, read,
 * fetch, close; how: see die(). With any other colour it is well-behaved and asks nobody: CHECK
 * answers with the account that the config names as "shop", READ puts out one record, FETCH puts
 * out what it is asked for. Its initialiser does what the variable TOY_LOADS says. */
#define _GNU_SOURCE
#include "plugin.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a sanitizer would report first is left to the machine. */
#define RAW __attribute__((noinline, no_sanitize("address", "undefined")))

RAW static int run_over(int depth) {
  volatile char much[4096];
  much[0] = (char)depth;
  return much[0] + run_over(depth + 1) + much[0];
}

RAW static void die(const char* how) {
  volatile int zero = 0, seven = 7;
  if (strcmp(how, "segv") == 0) *(volatile int*)(uintptr_t)16 = 1;
  if (strcmp(how, "bus") == 0) {
    const int empty = memfd_create("empty", 0);
    volatile char* page = (volatile char*)mmap(NULL, 4096, PROT_READ, MAP_SHARED, empty, 0);
    zero = page[0];
  }
  if (strcmp(how, "ill") == 0) __builtin_trap();
  if (strcmp(how, "fpe") == 0) zero = seven / zero;
  if (strcmp(how, "trap") == 0) raise(SIGTRAP);
  if (strcmp(how, "sys") == 0) raise(SIGSYS);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "exit") == 0) exit(3);
  if (strcmp(how, "exit_well") == 0) exit(0);
  if (strcmp(how, "quick_exit") == 0) quick_exit(3);
  if (strcmp(how, "overflow") == 0) zero = run_over(1);
  if (strcmp(how, "without_a_word") == 0) _exit(4);
  while (strcmp(how, "hang") == 0) pause();
}

/* The host keeps what open() was given until close(). */
struct dying {
  struct sluice_session session;
  const sluice_open_args* args;
  char where[16], how[16], shop[64];
  bool of_widgets; /* a READ of them: the other stream does no harm */
};

static void die_if(struct dying* dying, const char* where) {
  if (strcmp(dying->where, where) == 0) die(dying->how);
}

static sluice_status open_dying(const sluice_host* host, const sluice_open_args* args,
                                sluice_session** session) {
  (void)host;
  struct dying* dying = calloc(1, sizeof(struct dying));
  if (dying == NULL) return SLUICE_E_MEMORY;
  dying->session.operation = args->operation;
  dying->args = args;
  char config[256] = "";
  const uint64_t size = args->config_json.size < 255 ? args->config_json.size : 255;
  memcpy(config, args->config_json.data, size);
  const char* colour = strstr(config, "\"colour\":\"");
  if (colour != NULL && sscanf(colour + 10, "%15[a-z] %15[a-z_]", dying->where, dying->how) != 2)
    dying->where[0] = '\0';
  const char* shop = strstr(config, "\"shop\":\"");
  if (shop == NULL || sscanf(shop + 8, "%63[a-z0-9_]", dying->shop) != 1) strcpy(dying->shop, "a1");
  *session = &dying->session;
  dying->of_widgets = args->stream.size == strlen("widgets");
  if (dying->of_widgets) die_if(dying, "open");
  return SLUICE_OK;
}

static void close_dying(sluice_session* session) {
  struct dying* dying = (struct dying*)session;
  if (dying->of_widgets) die_if(dying, "close");
  free(session);
}

static sluice_status put(const sluice_sink* sink, sluice_bytes id) {
  const sluice_value name = zoo_text(0, "a widget");
  sluice_record record = zoo_record("", &name, 1);
  record.external_id = id;
  return sink->record(sink->ctx, &record);
}

static sluice_status step(ARGS) {
  struct dying* dying = (struct dying*)session;
  switch (session->operation) {
    case SLUICE_OP_CHECK: {
      die_if(dying, "check");
      char answer[128];
      snprintf(answer, sizeof(answer), "{\"account\":{\"id\":\"%s\"},\"mode\":\"test\"}",
               dying->shop);
      const sluice_status status = sink->result(sink->ctx, bytes_of(answer));
      return status < 0 ? status : SLUICE_STEP_DONE;
    }
    case SLUICE_OP_READ: {
      if (!dying->of_widgets) return SLUICE_STEP_DONE;
      sink->log(sink->ctx, SLUICE_LOG_INFO, bytes_of("reads widgets"));
      die_if(dying, "read");
      if (strcmp(dying->where, "says") == 0) { /* what only the host may ask for */
        sluice_failure failure = {sizeof(failure), SLUICE_FAIL_CANCELLED};
        failure.message = bytes_of("the export was cancelled by its owner");
        const sluice_status said = sink->fail(sink->ctx, &failure);
        return said < 0 ? said : SLUICE_STEP_FAILED;
      }
      while (strcmp(dying->where, "babble") == 0) {
        sink->checkpoint(sink->ctx, bytes_of("1"));
        sink->log(sink->ctx, SLUICE_LOG_INFO, bytes_of("on and on"));
      }
      const sluice_status status = put(sink, bytes_of("w1"));
      return status < 0 ? status : SLUICE_STEP_DONE;
    }
    default:
      die_if(dying, "fetch");
      for (uint32_t at = 0; at < dying->args->id_count; ++at) {
        const sluice_status status = put(sink, dying->args->ids[at]);
        if (status < 0) return status;
      }
      return SLUICE_STEP_DONE;
  }
}

__attribute__((constructor)) static void initialise(void) {
  const char* how = getenv("TOY_LOADS");
  if (how != NULL) die(how);
}

#undef OPEN
#define OPEN open_dying
#define zoo_close close_dying
PLUGIN(step)
