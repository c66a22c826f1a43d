/* What every animal of the zoo shares. One misdeed per file: it defines what it does differently and then
 * ends in PLUGIN(step). Without any definition it is a well-behaved connector that does nothing.
 *
 *   NOTE_MAJOR, NOTE_MINOR    versions in the file's note       ENTRY_MAJOR, ENTRY_MINOR   and in the entry
 *   NOTES                     how many notes (0, 1, 2)          ENTRY_MANIFEST(_SIZE)      what the entry points at
 *   OPEN                      the entry's open function
 * ZOO_MANIFEST (a path) and ZOO_MANIFEST_SIZE come from CMake. */
#ifndef ZOO_PLUGIN_H
#define ZOO_PLUGIN_H

#include <sluice/connector.h>
#include <stdlib.h>
#include <string.h>

#define ZOO_TEXT2(x) #x
#define ZOO_TEXT(x) ZOO_TEXT2(x)

#ifndef NOTE_MAJOR
#define NOTE_MAJOR 1
#endif
#ifndef NOTE_MINOR
#define NOTE_MINOR 0
#endif
#ifndef ENTRY_MAJOR
#define ENTRY_MAJOR NOTE_MAJOR
#endif
#ifndef ENTRY_MINOR
#define ENTRY_MINOR NOTE_MINOR
#endif
#ifndef NOTES
#define NOTES 1
#endif
#ifndef ENTRY_MANIFEST
#define ENTRY_MANIFEST zoo_manifest
#define ENTRY_MANIFEST_SIZE ZOO_MANIFEST_SIZE
#endif
#ifndef OPEN
#define OPEN zoo_open
#endif

/* Without a note the manifest lies in plain data. */
__asm__(
    ".pushsection .rodata.zoo, \"a\", @progbits\n"
    ".hidden zoo_plain_manifest\n.globl zoo_plain_manifest\n"
    "zoo_plain_manifest: .incbin \"" ZOO_MANIFEST "\"\n"
    ".popsection\n");

#define ZOO_NOTE(symbol)                                                                  \
  ".pushsection .note.sluice, \"a\", @note\n"                                             \
  ".balign 4\n.long 7\n.long 92f-91f\n.long 1\n.asciz \"Sluice\"\n.balign 4\n"            \
  "91: .long 1\n.short " ZOO_TEXT(NOTE_MAJOR) "\n.short " ZOO_TEXT(NOTE_MINOR) "\n"       \
  ".long 92f-93f\n.hidden " symbol "\n.globl " symbol "\n" symbol ":\n"                   \
  "93: .incbin \"" ZOO_MANIFEST "\"\n92: .balign 4\n.popsection\n"
#if NOTES >= 1
__asm__(ZOO_NOTE("zoo_manifest"));
#endif
#if NOTES >= 2
__asm__(ZOO_NOTE("zoo_manifest_again"));
#endif
#if NOTES == 0
#define zoo_manifest zoo_plain_manifest
#endif
extern const uint8_t zoo_manifest[] __attribute__((visibility("hidden")));

struct sluice_session {
  sluice_operation operation;
  int steps;
  int number;
  uint64_t next_request;
  const sluice_sink* kept;
};

static inline sluice_bytes bytes_of(const char* text) {
  sluice_bytes bytes = {(const uint8_t*)text, strlen(text)};
  return bytes;
}

static inline sluice_status zoo_open(const sluice_host* host, const sluice_open_args* args,
                                     sluice_session** session) {
  (void)host;
  *session = (sluice_session*)calloc(1, sizeof(struct sluice_session));
  if (*session == NULL) return SLUICE_E_MEMORY;
  (*session)->operation = args->operation;
  return SLUICE_OK;
}

static inline void zoo_close(sluice_session* session) { free(session); }

static inline const void* zoo_extension(sluice_bytes id) {
  (void)id;
  return NULL;
}

/* A request that is right in every respect. */
static inline sluice_request zoo_request(uint64_t id, const char* target) {
  sluice_request request;
  memset(&request, 0, sizeof(request));
  request.struct_size = sizeof(request);
  request.method = SLUICE_GET;
  request.id = id;
  request.target = bytes_of(target);
  return request;
}

static inline sluice_value zoo_text(uint32_t attribute, const char* text) {
  sluice_value value;
  memset(&value, 0, sizeof(value));
  value.attribute = attribute;
  value.kind = SLUICE_STRING;
  value.text = bytes_of(text);
  return value;
}

static inline sluice_value zoo_number(uint32_t attribute, sluice_kind kind, int64_t number) {
  sluice_value value;
  memset(&value, 0, sizeof(value));
  value.attribute = attribute;
  value.kind = kind;
  value.number = number;
  return value;
}

static inline sluice_record zoo_record(const char* id, const sluice_value* values, uint32_t count) {
  sluice_record record;
  memset(&record, 0, sizeof(record));
  record.struct_size = sizeof(record);
  record.external_id = bytes_of(id);
  record.values = values;
  record.value_count = count;
  return record;
}

static inline sluice_failure zoo_failure(sluice_failure_class failure_class, const char* message) {
  sluice_failure failure;
  memset(&failure, 0, sizeof(failure));
  failure.struct_size = sizeof(failure);
  failure.failure_class = failure_class;
  failure.message = bytes_of(message);
  return failure;
}

#define ARGS                                                                                   \
  __attribute__((unused)) sluice_session *session,                                             \
      __attribute__((unused)) const sluice_input *input,                                       \
      __attribute__((unused)) const sluice_sink *sink, __attribute__((unused)) int64_t *wake_at_ms

#ifdef __cplusplus
#define ZOO_C extern "C"
#else
#define ZOO_C
#endif

#define PLUGIN(step_function)                                                                  \
  ZOO_C __attribute__((visibility("default"))) const sluice_entry_v1 sluice_connector_v1 = {   \
      sizeof(sluice_entry_v1), ENTRY_MAJOR, 0, ENTRY_MINOR, 0, 0, ENTRY_MANIFEST,              \
      ENTRY_MANIFEST_SIZE, OPEN, step_function, zoo_close, zoo_extension};

/* For misdeeds that lie in the file and not in what it does. */
#define IDLE_PLUGIN                               \
  static sluice_status idle(ARGS) { return SLUICE_STEP_DONE; } \
  PLUGIN(idle)

#endif
