/* A connector in plain C11, on the contract's headers alone: no SDK, no parser, only libc. Toyshop answers
 * in lines: "id TAB version TAB + {TAB value}" is an entity, "id TAB
 * version TAB -" one that is gone, and "=more CURSOR" or "=end CURSOR" the last line of each page. */
#include <ctype.h>
#include <sluice/connector.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The note. TOY_MANIFEST is the manifest's path; the entry points at the same bytes. */
__asm__(
    ".pushsection .note.sluice, \"a\", @note\n.balign 4\n.long 7, 3f-1f, 1\n.asciz \"Sluice\"\n"
    ".balign 4\n1: .long 1\n.short 1, 1\n.long 3f-2f\n.hidden toy_manifest\n.globl toy_manifest\n"
    "toy_manifest:\n2: .incbin \"" TOY_MANIFEST "\"\n3: .balign 4\n.popsection\n");
extern const uint8_t toy_manifest[] __attribute__((visibility("hidden")));

enum { kValuesMax = 5, kCursorMax = 255, kEncodedMax = 3 * 1024 /* of the longest id */ };
static const struct entity_type { /* in the manifest's order, and so are its attributes */
  const char* name; /* of its stream, and of its path */
  uint32_t count;
  sluice_kind kinds[kValuesMax];
} kTypes[] = {
    {"toys", 5, {SLUICE_STRING, SLUICE_DECIMAL, SLUICE_INT64, SLUICE_STRING, SLUICE_TIMESTAMP}},
    {"makers", 2, {SLUICE_STRING, SLUICE_STRING}}};

struct sluice_session {
  sluice_open_args args; /* what it points at is [host] */
  const struct entity_type* type;
  sluice_input_kind expected; /* 0: the session has ended */
  uint32_t next_id;
  uint64_t request_id;
  char cursor[kCursorMax + 1];
  char *body, *line; /* our copy of the page, which may take several steps; how far it is read */
};

static sluice_bytes text(const char* of) { return (sluice_bytes){(const uint8_t*)of, strlen(of)}; }
/* A refusal of the sink is the step's answer (SLP-S07). */
static sluice_status then(sluice_status status, sluice_status result) { return status < 0 ? status : result; }

static sluice_status give_up(const sluice_sink* sink, sluice_failure_class why, const char* message) {
  const sluice_failure failure = {sizeof failure, why, 0, {NULL, 0}, text(message)};
  return then(sink->fail(sink->ctx, &failure), SLUICE_STEP_FAILED);
}
#define damaged(sink, message) give_up(sink, SLUICE_FAIL_BAD_DATA, message)

static void encode(char* to, sluice_bytes from) { /* percent-encoded */
  for (const uint8_t* c = from.data; c != from.data + from.size; ++c)
    to += sprintf(to, isalnum(*c) || *c == '_' || *c == '-' ? "%c" : "%%%02X", *c);
}

static sluice_status ask(sluice_session* session, const sluice_sink* sink) {
  const sluice_open_args* args = &session->args;
  char encoded[kEncodedMax + 1] = "", target[kEncodedMax + 100] = "/me";
  if (args->operation == SLUICE_OP_READ) {
    encode(encoded, text(session->cursor));
    snprintf(target, sizeof target, "/%s?limit=%u&after=%s", session->type->name,
             args->page_size != 0 ? (unsigned)args->page_size : 100U, encoded);
  } else if (args->operation == SLUICE_OP_FETCH) {
    encode(encoded, args->ids[session->next_id]);
    snprintf(target, sizeof target, "/%s/%s", session->type->name, encoded);
  }
  const sluice_request request = {.struct_size = sizeof request, .method = SLUICE_GET,
                                  .id = ++session->request_id, .target = text(target)};
  return then(sink->request(sink->ctx, &request), SLUICE_STEP_WAIT);
}

static int number(const char* from, int64_t* to) {
  char* end = NULL;
  if (*from == '\0' || strlen(from) > 18 || strspn(from, "-0123456789") != strlen(from)) return 0;
  *to = strtoll(from, &end, 10);
  return *end == '\0';
}

/* One line. Sets *taken to the sink's answer; else the result is what step() returns. */
static sluice_status put(sluice_session* session, const sluice_sink* sink, char* line, int* taken) {
  const struct entity_type* type = session->type;
  char* field[3 + kValuesMax] = {line}; /* id, version, sign, values */
  uint32_t count = 1;
  for (; (line = strchr(line, '\t')) != NULL && count < 3 + kValuesMax; *line++ = '\0', ++count)
    field[count] = line + 1;
  const int gone = count == 3 && strcmp(field[2], "-") == 0;
  const int there = count == 3 + type->count && strcmp(field[2], "+") == 0;
  sluice_record record = {.struct_size = sizeof record, .type = (uint32_t)(type - kTypes)};
  if (line != NULL || !(gone || there) || *field[0] == 0 || !number(field[1], &record.source_version))
    return damaged(sink, "Toyshop sent a line that is no entity");
  sluice_value values[kValuesMax] = {{0}};
  for (uint32_t i = 0; there && i < type->count; ++i) {
    values[i].attribute = i;
    values[i].text = text(field[3 + i]);
    values[i].kind = values[i].text.size == 0 ? SLUICE_NULL : type->kinds[i];
    if ((values[i].kind == SLUICE_INT64 || values[i].kind == SLUICE_TIMESTAMP) &&
        !number(field[3 + i], &values[i].number))
      values[i].kind = SLUICE_STRING; /* the host puts this record aside and says why */
  }
  record.external_id = text(field[0]);
  record.flags = gone ? SLUICE_RECORD_DELETED : 0;
  record.values = values;
  record.value_count = gone ? 0 : type->count;
  return *taken = sink->record(sink->ctx, &record);
}

/* The last line of a page: where to go on. */
static sluice_status turn(sluice_session* session, const sluice_sink* sink, const char* line) {
  const int more = strncmp(line, "=more ", 6) == 0;
  const char* cursor = line + (more ? 6 : 5);
  if (!more && strncmp(line, "=end ", 5) != 0)
    return damaged(sink, "Toyshop ended a page with neither =more nor =end");
  if (session->args.operation == SLUICE_OP_FETCH)
    return ++session->next_id < session->args.id_count ? ask(session, sink) : SLUICE_STEP_DONE;
  if (strlen(cursor) > kCursorMax) return damaged(sink, "Toyshop sent a cursor above 255 bytes");
  if (more && strcmp(cursor, session->cursor) == 0)
    return damaged(sink, "Toyshop's cursor stands still: =more, and the same as before");
  strcpy(session->cursor, cursor);
  const sluice_status kept = *cursor ? sink->checkpoint(sink->ctx, text(session->cursor)) : 0;
  return then(kept, kept < 0 || !more ? SLUICE_STEP_DONE : ask(session, sink));
}

static sluice_status page(sluice_session* session, const sluice_sink* sink) {
  char *line = session->line, *end = NULL;
  for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    sluice_status taken = SLUICE_E_STATE;
    *end = '\0';
    if (*line == '=') return turn(session, sink, line);
    const sluice_status status = put(session, sink, line, &taken);
    session->line = end + 1;
    if (taken == SLUICE_STOP) return SLUICE_STEP_MORE;
    if (taken != SLUICE_OK) return status;
  }
  return damaged(sink, "Toyshop's page is cut off: its last line is missing");
}

static sluice_status account(sluice_session* session, const sluice_sink* sink) {
  const size_t size = strspn(session->body, "abcdefghijklmnopqrstuvwxyz0123456789_");
  char json[200];
  if (size == 0 || size > 64 || strcmp(session->body + size, "\n") != 0)
    return damaged(sink, "Toyshop's answer to /me is no account");
  snprintf(json, sizeof json, "{\"account\":{\"id\":\"%.*s\",\"name\":\"Toyshop\"},\"mode\":\"test\"}",
           (int)size, session->body);
  return then(sink->result(sink->ctx, text(json)), SLUICE_STEP_DONE);
}

static sluice_status refused(const sluice_sink* sink, int32_t status) {
  switch (status) {
    case 401: return give_up(sink, SLUICE_FAIL_AUTH, "Toyshop does not take this API key (401)");
    case 403: return give_up(sink, SLUICE_FAIL_PERMISSION, "Toyshop's API key may not read this (403)");
    case 429: return give_up(sink, SLUICE_FAIL_RATE_LIMITED, "Toyshop wants fewer requests (429)");
  }
  return status >= 500 ? give_up(sink, SLUICE_FAIL_UPSTREAM_TRANSIENT, "Toyshop is ill (5xx)")
                       : give_up(sink, SLUICE_FAIL_UPSTREAM_PERMANENT, "Toyshop refuses this request");
}

static sluice_status answer(sluice_session* session, const sluice_sink* sink, const sluice_input* input) {
  const sluice_open_args* args = &session->args;
  const int gone = input->status == 404 && args->operation == SLUICE_OP_FETCH;
  if (input->status != 200 && !gone) return refused(sink, input->status);
  const sluice_bytes from = gone ? args->ids[session->next_id] : input->body;
  free(session->body);
  session->line = session->body = calloc(1, from.size + 16);
  if (session->body == NULL) return SLUICE_E_MEMORY;
  if (from.size > 0) memcpy(session->body, from.data, from.size);
  if (strlen(session->body) != from.size) return damaged(sink, "Toyshop sent a NUL");
  if (gone) strcpy(session->body + from.size, "\t0\t-\n=end \n"); /* as the vendor would say it */
  return args->operation == SLUICE_OP_CHECK ? account(session, sink) : page(session, sink);
}

static sluice_status step(sluice_session* session, const sluice_input* input, const sluice_sink* sink,
                          int64_t* wake_at_ms) {
  (void)wake_at_ms; /* it never sleeps */
  const int failed = input->kind == SLUICE_INPUT_TRANSPORT_ERROR;
  const sluice_input_kind kind = failed ? SLUICE_INPUT_RESPONSE : input->kind;
  sluice_status status = SLUICE_E_STATE;
  if (!session->expected || (kind != session->expected && kind != SLUICE_INPUT_CANCEL)) return status;
  if (kind == SLUICE_INPUT_RESPONSE && input->request_id != session->request_id) return SLUICE_E_ARG;
  if (kind == SLUICE_INPUT_CANCEL) status = give_up(sink, SLUICE_FAIL_CANCELLED, "cancelled");
  else if (kind == SLUICE_INPUT_START) status = ask(session, sink);
  else if (kind == SLUICE_INPUT_CONTINUE) status = page(session, sink);
  else if (failed) status = give_up(sink, SLUICE_FAIL_UPSTREAM_TRANSIENT, "Toyshop does not answer");
  else status = answer(session, sink, input);
  session->expected = status == SLUICE_STEP_WAIT   ? SLUICE_INPUT_RESPONSE
                      : status == SLUICE_STEP_MORE ? SLUICE_INPUT_CONTINUE : 0;
  return status;
}

static sluice_status open(const sluice_host* host, const sluice_open_args* args, sluice_session** session) {
  const sluice_operation does = args->operation;
  const uint32_t type = does == SLUICE_OP_FETCH ? args->type : does == SLUICE_OP_READ && *args->stream.data == 'm';
  if (does != SLUICE_OP_CHECK && does != SLUICE_OP_READ && does != SLUICE_OP_FETCH) return SLUICE_E_UNSUPPORTED;
  if (host->abi_major != SLUICE_ABI_MAJOR || type > 1 || args->checkpoint.size > kCursorMax) return SLUICE_E_ARG;
  if ((*session = calloc(1, sizeof **session)) == NULL) return SLUICE_E_MEMORY;
  **session = (sluice_session){.args = *args, .type = &kTypes[type], .expected = SLUICE_INPUT_START};
  if (args->checkpoint.size > 0) memcpy((*session)->cursor, args->checkpoint.data, args->checkpoint.size);
  return SLUICE_OK;
}

static void close(sluice_session* session) { free(session->body), free(session); }
static const void* no_extension(sluice_bytes id) { return (void)id, NULL; }

const sluice_entry_v1 sluice_connector_v1 = {
    sizeof sluice_connector_v1, SLUICE_ABI_MAJOR, SLUICE_ABI_MINOR, 1, 0, 0, toy_manifest,
    TOY_MANIFEST_SIZE, open, step, close, no_extension};
