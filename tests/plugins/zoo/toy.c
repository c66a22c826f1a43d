/* A good connector in plain C11. The vendor's pages are lines "id,name,size" and, when there is
 * another page, a last line "next". */
#include "plugin.h"

#include <stdio.h>

static sluice_status ask(sluice_session* session, const sluice_sink* sink, const char* target) {
  sluice_request request = zoo_request(++session->next_request, target);
  request.auth_slot = 0;
  const sluice_status status = sink->request(sink->ctx, &request);
  return status < 0 ? status : SLUICE_STEP_WAIT;
}

static sluice_status ask_page(sluice_session* session, const sluice_sink* sink) {
  char target[64];
  snprintf(target, sizeof(target), "/widgets?page=%d", session->number);
  return ask(session, sink, target);
}

static sluice_status start(sluice_session* session, const sluice_sink* sink) {
  switch (session->operation) {
    case SLUICE_OP_CHECK:
      return ask(session, sink, "/account");
    case SLUICE_OP_FETCH:
      return ask(session, sink, "/widgets/some");
    default:
      return ask_page(session, sink);
  }
}

static sluice_status give_up(const sluice_sink* sink, const sluice_input* input) {
  sluice_failure failure =
      zoo_failure(input->status == 401 ? SLUICE_FAIL_AUTH : SLUICE_FAIL_UPSTREAM_TRANSIENT,
                  "the vendor said no");
  const sluice_status status = sink->fail(sink->ctx, &failure);
  return status < 0 ? status : SLUICE_STEP_FAILED;
}

/* One line "id,name,size". */
static sluice_status put(const sluice_sink* sink, const char* line, size_t length) {
  const char* name = (const char*)memchr(line, ',', length);
  const char* size = (const char*)memchr(name + 1, ',', (size_t)(line + length - name - 1));
  const sluice_value values[] = {
      {.attribute = 0,
       .kind = SLUICE_STRING,
       .text = {(const uint8_t*)name + 1, (uint64_t)(size - name - 1)}},
      {.attribute = 1, .kind = SLUICE_INT64, .number = strtol(size + 1, NULL, 10)}};
  sluice_record record = zoo_record("", values, 2);
  record.external_id.data = (const uint8_t*)line;
  record.external_id.size = (uint64_t)(name - line);
  return sink->record(sink->ctx, &record);
}

static sluice_status page(sluice_session* session, const sluice_input* input,
                          const sluice_sink* sink) {
  const char* at = (const char*)input->body.data;
  const char* end = at + input->body.size;
  int has_next = 0;
  while (at < end) {
    const char* newline = (const char*)memchr(at, '\n', (size_t)(end - at));
    const size_t length = (size_t)((newline != NULL ? newline : end) - at);
    if (length == 4 && memcmp(at, "next", 4) == 0) {
      has_next = 1;
    } else if (length > 0) {
      const sluice_status status = put(sink, at, length);
      if (status < 0) return status;
    }
    at += length + 1;
  }
  if (session->operation != SLUICE_OP_READ) return SLUICE_STEP_DONE;
  char checkpoint[16];
  snprintf(checkpoint, sizeof(checkpoint), "%d", ++session->number);
  const sluice_status status = sink->checkpoint(sink->ctx, bytes_of(checkpoint));
  if (status < 0) return status;
  return has_next ? ask_page(session, sink) : SLUICE_STEP_DONE;
}

static sluice_status step(sluice_session* session, const sluice_input* input,
                          const sluice_sink* sink, int64_t* wake_at_ms) {
  (void)wake_at_ms;
  if (input->kind == SLUICE_INPUT_START) return start(session, sink);
  if (input->kind == SLUICE_INPUT_CANCEL) {
    sluice_failure failure = zoo_failure(SLUICE_FAIL_CANCELLED, "as asked");
    const sluice_status status = sink->fail(sink->ctx, &failure);
    return status < 0 ? status : SLUICE_STEP_FAILED;
  }
  if (input->kind != SLUICE_INPUT_RESPONSE || input->status != 200) return give_up(sink, input);
  if (session->operation == SLUICE_OP_CHECK) {
    const sluice_status status = sink->result(
        sink->ctx, bytes_of("{\"account\":{\"id\":\"a1\",\"name\":\"Toys\"},\"mode\":\"test\"}"));
    return status < 0 ? status : SLUICE_STEP_DONE;
  }
  return page(session, input, sink);
}

static sluice_status open_toy(const sluice_host* host, const sluice_open_args* args,
                              sluice_session** session) {
  const sluice_status status = zoo_open(host, args, session);
  if (status != SLUICE_OK) return status;
  (*session)->number = 1;
  if (args->checkpoint.size > 0 && args->checkpoint.size < 8) {
    char text[8] = {0};
    memcpy(text, args->checkpoint.data, args->checkpoint.size);
    (*session)->number = atoi(text);
  }
  return SLUICE_OK;
}

#undef OPEN
#define OPEN open_toy
PLUGIN(step)
