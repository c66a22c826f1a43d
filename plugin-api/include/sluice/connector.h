/* sluice/connector.h - the contract between a Sluice host and a connector, version 1.
 *
 * A connector is a deterministic function: (manifest, configuration, checkpoint, inputs) -> outputs. It asks for
 * requests and the host performs them; time and entropy are inputs. It opens no socket, file or thread, reads no
 * clock, holds no secret, and keeps nothing between sessions but the checkpoint that the host stores for it.
 *
 *   open(args) ----> session
 *   step(START) ---> records, a checkpoint, "GET /v1/customers"    result WAIT
 *   step(RESPONSE)-> records, a checkpoint, the next request       result WAIT
 *   step(RESPONSE)-> records, the last checkpoint                  result DONE
 *   close()
 *
 * STATES of a session, and the call that moves it:
 *   OPEN -- step(START) --> { WAIT | MORE | SLEEP } -- step(RESPONSE | TRANSPORT_ERROR | CONTINUE | TIMER) --> ...
 *        -- DONE or FAILED or a negative result --> ENDED -- close() --> gone
 *   step(CANCEL) is allowed in every state but ENDED and should end in DONE or FAILED(CANCELLED).     SLP-S04
 *
 * ALL OR NOTHING. What a step puts into the sink takes effect only when step() returns a result >= 0 and the host
 * has validated it. A checkpoint covers exactly the records, notices and sets put before it, in this step and
 * before.                                                                                             SLP-S05
 */
#ifndef SLUICE_CONNECTOR_H
#define SLUICE_CONNECTOR_H

#include <sluice/abi.h>

SLUICE_EXTERN_C_BEGIN

/* ---- values and records ------------------------------------------------------------------------------------ */

/* Kinds of a value. The attribute's declared type says which kinds it takes:
 *   text: STRING · integer: INT64 · decimal: INT64 or DECIMAL · number: INT64 or DOUBLE · boolean: BOOL ·
 *   timestamp: TIMESTAMP · date: DATE · json: JSON · bytes: BYTES; NULL goes with each. */
typedef int32_t sluice_kind;
#define SLUICE_NULL 0
#define SLUICE_BOOL 1      /* number: 0 or 1 */
#define SLUICE_INT64 2     /* number */
#define SLUICE_DOUBLE 3    /* real; finite */
#define SLUICE_DECIMAL 4   /* text: [-]digits[.digits], at most 1000 characters */
#define SLUICE_STRING 5    /* text: UTF-8 */
#define SLUICE_RAW 6       /* text: any bytes */
#define SLUICE_TIMESTAMP 7 /* number: microseconds since 1970-01-01T00:00:00Z */
#define SLUICE_DATE 8      /* number: days since 1970-01-01 */
#define SLUICE_JSON 9      /* text: one JSON value, UTF-8 */

/* One attribute of a record. An attribute that is not listed is left as it is in the store; NULL clears it. */
typedef struct sluice_value {
  uint32_t attribute; /* index into the entity type's attributes in the manifest, from 0 */
  sluice_kind kind;
  union {
    int64_t number;
    double real;
  };
  sluice_bytes text; /* [borrowed] */
} sluice_value;

/* A discovered attribute, addressed by name because the manifest cannot know it. Stored in `extra`, beside those of
 * before that are not listed; in their place when the record is WHOLE. */
typedef struct sluice_named_value {
  sluice_bytes name; /* [borrowed] text, 1 to 63 bytes, [a-z_][a-z0-9_]* */
  sluice_value value; /* attribute is ignored */
} sluice_named_value;

#define SLUICE_RECORD_DELETED 1u /* the vendor says that it is gone; values may be empty */
/* The vendor's whole object was at hand: named_values are all its discovered attributes, and source_url (or none) is
 * its page. What the store has beyond them goes. Declared attributes that are not listed stay as they are. Since 1.2. */
#define SLUICE_RECORD_WHOLE 2u

typedef struct sluice_record {
  uint32_t struct_size;
  uint32_t type;              /* index into the manifest's entity_types */
  sluice_bytes external_id;   /* [borrowed] text, 1 to 1024 bytes, the vendor's own id, compared bytewise */
  int64_t source_version;     /* grows with every change at the vendor; 0: the vendor has none */
  uint32_t flags;             /* SLUICE_RECORD_* */
  uint32_t value_count;
  const sluice_value* values; /* [borrowed] each attribute at most once */
  sluice_bytes source_url;    /* [borrowed] text; where a person sees it at the vendor; may be empty */
  const sluice_named_value* named_values; /* [borrowed] */
  uint32_t named_count;
  uint32_t reserved;          /* zero */
} sluice_record;

/* A hint that something changed. The host removes duplicates and asks for the truth by FETCH. */
#define SLUICE_NOTICE_CHANGED 1
#define SLUICE_NOTICE_DELETED 2
#define SLUICE_NOTICE_MERGED 3 /* merged_into names the one that remains */

typedef struct sluice_notice {
  uint32_t struct_size;
  uint32_t type; /* index into the manifest's entity_types */
  sluice_bytes external_id; /* [borrowed] text */
  int32_t kind;             /* SLUICE_NOTICE_* */
  uint32_t reserved;        /* zero */
  int64_t observed_at;      /* µs since the epoch, as the vendor says; 0: unknown */
  sluice_bytes merged_into; /* [borrowed] text */
} sluice_notice;

/* "These are ALL entities of `type` whose attribute equals `equals`": what the store holds beyond them is gone
 * at the vendor. For children that come inside a parent (the items of a subscription), after every page of them
 * was read. The attribute must be a text attribute that a relationship uses. */
typedef struct sluice_complete_set {
  uint32_t struct_size;
  uint32_t type;
  uint32_t attribute;
  uint32_t id_count;
  sluice_bytes equals;     /* [borrowed] text */
  const sluice_bytes* ids; /* [borrowed] external ids that remain */
} sluice_complete_set;

/* ---- requests and responses ----------------------------------------------------------------------------------- */

typedef struct sluice_header {
  sluice_bytes name;  /* [borrowed] text; names compare without regard to case */
  sluice_bytes value; /* [borrowed] text */
} sluice_header;

#define SLUICE_GET 1
#define SLUICE_POST 2
#define SLUICE_PUT 3
#define SLUICE_PATCH 4
#define SLUICE_DELETE 5

#define SLUICE_REQUEST_IDEMPOTENT 1u /* sending it twice does no harm; the host may then retry it (GET always may) */

/* The host adds the credential after its policy check. A connector can set neither Authorization, Cookie,
 * Host, Content-Length, Transfer-Encoding, Connection, Accept-Encoding, Proxy-* and the like, nor an absolute URL:
 * SLUICE_E_POLICY.                                                                                      SLP-R01 */
typedef struct sluice_request {
  uint32_t struct_size;
  int32_t method;                  /* SLUICE_GET … */
  uint64_t id;                     /* chosen by the connector, not 0, unique while outstanding */
  uint32_t host;                   /* index into the manifest's hosts */
  uint32_t flags;                  /* SLUICE_REQUEST_* */
  sluice_bytes target;             /* [borrowed] text: path and query, percent-encoded, begins with '/' */
  const sluice_header* headers;    /* [borrowed] */
  uint32_t header_count;
  uint32_t auth_slot;              /* index into the manifest's auth slots, from 0; SLUICE_NO_AUTH for none */
  sluice_bytes body;               /* [borrowed] */
  uint64_t response_bytes_max;     /* 0: the host's own limit */
  int64_t not_before_ms;           /* leaves no earlier: milliseconds since the epoch, 15 minutes ahead at most; 0: now */
} sluice_request;
#define SLUICE_NO_AUTH 0xFFFFFFFFu
/* So many requests of a session are out at once; one more is SLUICE_E_LIMIT, and ends the run.            SLP-R02 */
#define SLUICE_REQUESTS_OUTSTANDING_MAX 16u

/* ---- failures -------------------------------------------------------------------------------------------------- */

typedef int32_t sluice_failure_class;
#define SLUICE_FAIL_AUTH 1                /* the credential is wrong, expired or revoked */
#define SLUICE_FAIL_PERMISSION 2          /* the credential is right but may not do this */
#define SLUICE_FAIL_RATE_LIMITED 3        /* retry_after_ms says when, 0: unknown */
#define SLUICE_FAIL_UPSTREAM_TRANSIENT 4  /* the vendor is ill; later may work */
#define SLUICE_FAIL_UPSTREAM_PERMANENT 5  /* the vendor refuses, and will again */
#define SLUICE_FAIL_BAD_DATA 6            /* the vendor answered nonsense */
#define SLUICE_FAIL_CONFIG 7              /* the connection's configuration is wrong */
#define SLUICE_FAIL_CHECKPOINT_REJECTED 8 /* cannot resume from here: read the stream again from its start */
#define SLUICE_FAIL_CANCELLED 9           /* the answer to SLUICE_IN_CANCEL, and to nothing else */
#define SLUICE_FAIL_INTERNAL 10           /* the connector's own bug */

typedef struct sluice_failure {
  uint32_t struct_size;
  sluice_failure_class failure_class;
  int64_t retry_after_ms;
  sluice_bytes vendor_code; /* [borrowed] text, at most 128 bytes. With PERMISSION the name of the one that is
                             * lacking, where it is known: the host lists those of a connection together. */
  sluice_bytes message;     /* [borrowed] text, at most 1024 bytes: what, where, what to do. May quote the vendor. */
} sluice_failure;

/* ---- the sink: where a step puts its output ---------------------------------------------------------------------- */

#define SLUICE_LOG_DEBUG 1
#define SLUICE_LOG_INFO 2
#define SLUICE_LOG_WARNING 3
#define SLUICE_LOG_ERROR 4

/* [in-step] for every function. Valid only during the step() it was passed to. Each copies what it is given and
 * returns SLUICE_OK, SLUICE_STOP or a negative error; after a negative error the connector returns that error
 * from step().                                                                                 SLP-S06 SLP-S07 */
typedef struct sluice_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* ctx; /* [host] first argument of every function */
  sluice_status (*record)(void* ctx, const sluice_record* record);
  sluice_status (*notice)(void* ctx, const sluice_notice* notice);
  sluice_status (*complete_set)(void* ctx, const sluice_complete_set* set);
  sluice_status (*request)(void* ctx, const sluice_request* request);
  /* Replaces the stream's checkpoint. At most 4096 bytes; its format number is in the manifest. Only READ. */
  sluice_status (*checkpoint)(void* ctx, sluice_bytes checkpoint);
  /* One JSON document: the answer of CHECK, DISCOVER or SUBSCRIBE. Exactly once before DONE. */
  sluice_status (*result)(void* ctx, sluice_bytes json);
  /* Exactly once, in the step that returns FAILED. */
  sluice_status (*fail)(void* ctx, const sluice_failure* failure);
  /* For the connector's author; shown to admins. Never payloads. */
  sluice_status (*log)(void* ctx, int32_t level, sluice_bytes message);
  /* The vendor says how many there will be in all, for progress; 0: unknown. Optional (1.0). */
  sluice_status (*total)(void* ctx, int64_t records);
} sluice_sink;

/* ---- operations, open, step -------------------------------------------------------------------------------------- */

/* The host of today calls CHECK, READ and FETCH; the others are not called yet. */
typedef int32_t sluice_operation;
#define SLUICE_OP_CHECK 1       /* does the credential work, and which vendor account is it? -> result
                                   {"account":{"id","name"},"mode","notes":[…]} */
#define SLUICE_OP_DISCOVER 2    /* the account's custom attributes -> result {"attributes":[…]} */
#define SLUICE_OP_READ 3        /* one stream, from a checkpoint -> records, notices, checkpoints */
#define SLUICE_OP_FETCH 4       /* these ids of this type, as they are now -> records (deleted ones flagged); an id of
                                   which nothing is said is asked for again, later and later, and told in errors */
#define SLUICE_OP_RECEIVE 5     /* one verified webhook delivery -> records, notices */
#define SLUICE_OP_SUBSCRIBE 6   /* register webhooks at the vendor -> result */
#define SLUICE_OP_UNSUBSCRIBE 7 /* and remove them */

/* What the host gives a session, and asks of it. */
typedef struct sluice_host {
  uint32_t struct_size;
  uint16_t abi_major;
  uint16_t abi_minor;
  void* ctx; /* [host] */
  /* [any-thread] The table of an extension "sluice.name/1", or NULL. [host] There is none yet. */
  const void* (*query_extension)(void* ctx, sluice_bytes id);
} sluice_host;

typedef struct sluice_open_args {
  uint32_t struct_size;
  sluice_operation operation;
  sluice_bytes config_json;  /* [host] the connection's configuration, checked against the manifest's schema; no secrets */
  sluice_bytes stream;       /* [host] READ: the stream's name */
  uint32_t checkpoint_format;/* READ: 0 when there is no checkpoint */
  uint32_t type;             /* FETCH: index into entity_types */
  sluice_bytes checkpoint;   /* [host] READ */
  const sluice_bytes* ids;   /* [host] FETCH: external ids */
  uint32_t id_count;
  uint32_t records_per_step_max; /* after so many records a step gets SLUICE_STOP */
  uint64_t bytes_per_step_max;
  sluice_bytes payload;      /* [host] RECEIVE: the body; SUBSCRIBE: {"url":…}; UNSUBSCRIBE: the result of SUBSCRIBE */
  const sluice_header* headers; /* [host] RECEIVE */
  uint32_t header_count;
  uint32_t page_size;        /* how many records to ask a vendor for at once; 0: as the vendor's API likes it */
} sluice_open_args;

typedef int32_t sluice_input_kind;
#define SLUICE_INPUT_START 1
#define SLUICE_INPUT_RESPONSE 2        /* request_id, status, headers, body */
#define SLUICE_INPUT_TRANSPORT_ERROR 3 /* request_id; body is a text: why no response came. The host has retried. */
#define SLUICE_INPUT_CONTINUE 4        /* after MORE */
#define SLUICE_INPUT_TIMER 5           /* after SLEEP */
#define SLUICE_INPUT_CANCEL 6          /* end soon */

typedef struct sluice_input {
  uint32_t struct_size;
  sluice_input_kind kind;
  int64_t now_ms; /* milliseconds since the epoch: the only clock there is */
  uint8_t entropy[16];
  uint64_t request_id;
  int32_t status; /* HTTP status */
  uint32_t header_count;
  const sluice_header* headers; /* [borrowed] without Set-Cookie and without secrets */
  sluice_bytes body;            /* [borrowed] readable for 64 bytes beyond its end, so that SIMD parsers need no copy */
} sluice_input;

/* Results of step(). Result and sink traffic must agree; the host checks.                             SLP-S08 */
#define SLUICE_STEP_WAIT 1  /* at least one request is outstanding */
#define SLUICE_STEP_MORE 2  /* call again with CONTINUE */
#define SLUICE_STEP_SLEEP 3 /* call again with TIMER at wake_at_ms */
#define SLUICE_STEP_DONE 4
#define SLUICE_STEP_FAILED 5

typedef struct sluice_session sluice_session; /* [opaque] */

/* The one exported symbol: a constant object, never a function, named for the major version. */
typedef struct sluice_entry_v1 {
  uint32_t struct_size;
  uint16_t abi_major;      /* 1 */
  uint16_t built_minor;    /* SLUICE_ABI_MINOR of the headers; information only */
  uint16_t required_minor; /* the lowest host minor that will do */
  uint16_t flags;          /* zero */
  uint32_t reserved;       /* zero */
  const uint8_t* manifest; /* [static] the same bytes as in the note */
  uint64_t manifest_size;
  /* [any-thread] Starts a session. On success *session is set and SLUICE_OK returned. On failure a contract
   * error; a wrong configuration is no failure here but FAILED(CONFIG) from the first step. */
  sluice_status (*open)(const sluice_host* host, const sluice_open_args* args, sluice_session** session);
  /* [session] `wake_at_ms` is written only with SLUICE_STEP_SLEEP. */
  sluice_status (*step)(sluice_session* session, const sluice_input* input, const sluice_sink* sink,
                        int64_t* wake_at_ms);
  /* [session] Ends it in any state. Exactly once for each successful open(). */
  void (*close)(sluice_session* session);
  /* [any-thread] The table of an extension, or NULL. [static] Not called yet. */
  const void* (*query_extension)(sluice_bytes id);
} sluice_entry_v1;

#define SLUICE_ENTRY_SYMBOL "sluice_connector_v1"
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const sluice_entry_v1 sluice_connector_v1;

/* ---- the note: the manifest in the file, readable before any code of it runs --------------------------------------- *
 * ELF note in section ".note.sluice", owner "Sluice" (with its terminating zero), type 1. Its description:
 *   u32 note_format = 1 · u16 abi_major · u16 required_minor · u32 manifest_size · manifest_size bytes of JSON
 * little-endian. Exactly one in a file. sluice_add_connector() makes it from manifest.json.                   SLP-L01 */
#define SLUICE_NOTE_SECTION ".note.sluice"
#define SLUICE_NOTE_OWNER "Sluice"
#define SLUICE_NOTE_TYPE 1
#define SLUICE_NOTE_FORMAT 1
#define SLUICE_MANIFEST_BYTES_MAX (256u * 1024u)
#define SLUICE_CHECKPOINT_BYTES_MAX 4096u

SLUICE_EXTERN_C_END

#include <sluice/layout.h>

#endif /* SLUICE_CONNECTOR_H */
