/* sluice/layout.h - where every member of every struct of the contract lies, for ever.
 *
 * Included by connector.h; a compiler that lays anything out otherwise refuses to go on. A later minor version adds
 * lines for the members it appends and changes none. SLP-B03 */
#ifndef SLUICE_LAYOUT_H
#define SLUICE_LAYOUT_H

#define SLUICE_SIZE(type, bytes) SLUICE_STATIC_ASSERT(sizeof(type) == (bytes), "size of " #type)
#define SLUICE_OFFSET(type, member, bytes) \
  SLUICE_STATIC_ASSERT(offsetof(type, member) == (bytes), "offset of " #type "." #member)

SLUICE_SIZE(sluice_bytes, 16);
SLUICE_OFFSET(sluice_bytes, data, 0);
SLUICE_OFFSET(sluice_bytes, size, 8);

SLUICE_SIZE(sluice_value, 32);
SLUICE_OFFSET(sluice_value, attribute, 0);
SLUICE_OFFSET(sluice_value, kind, 4);
SLUICE_OFFSET(sluice_value, number, 8);
SLUICE_OFFSET(sluice_value, real, 8);
SLUICE_OFFSET(sluice_value, text, 16);

SLUICE_SIZE(sluice_named_value, 48);
SLUICE_OFFSET(sluice_named_value, name, 0);
SLUICE_OFFSET(sluice_named_value, value, 16);

SLUICE_SIZE(sluice_record, 80);
SLUICE_OFFSET(sluice_record, struct_size, 0);
SLUICE_OFFSET(sluice_record, type, 4);
SLUICE_OFFSET(sluice_record, external_id, 8);
SLUICE_OFFSET(sluice_record, source_version, 24);
SLUICE_OFFSET(sluice_record, flags, 32);
SLUICE_OFFSET(sluice_record, value_count, 36);
SLUICE_OFFSET(sluice_record, values, 40);
SLUICE_OFFSET(sluice_record, source_url, 48);
SLUICE_OFFSET(sluice_record, named_values, 64);
SLUICE_OFFSET(sluice_record, named_count, 72);
SLUICE_OFFSET(sluice_record, reserved, 76);

SLUICE_SIZE(sluice_notice, 56);
SLUICE_OFFSET(sluice_notice, struct_size, 0);
SLUICE_OFFSET(sluice_notice, type, 4);
SLUICE_OFFSET(sluice_notice, external_id, 8);
SLUICE_OFFSET(sluice_notice, kind, 24);
SLUICE_OFFSET(sluice_notice, reserved, 28);
SLUICE_OFFSET(sluice_notice, observed_at, 32);
SLUICE_OFFSET(sluice_notice, merged_into, 40);

SLUICE_SIZE(sluice_complete_set, 40);
SLUICE_OFFSET(sluice_complete_set, struct_size, 0);
SLUICE_OFFSET(sluice_complete_set, type, 4);
SLUICE_OFFSET(sluice_complete_set, attribute, 8);
SLUICE_OFFSET(sluice_complete_set, id_count, 12);
SLUICE_OFFSET(sluice_complete_set, equals, 16);
SLUICE_OFFSET(sluice_complete_set, ids, 32);

SLUICE_SIZE(sluice_header, 32);
SLUICE_OFFSET(sluice_header, name, 0);
SLUICE_OFFSET(sluice_header, value, 16);

SLUICE_SIZE(sluice_request, 88);
SLUICE_OFFSET(sluice_request, struct_size, 0);
SLUICE_OFFSET(sluice_request, method, 4);
SLUICE_OFFSET(sluice_request, id, 8);
SLUICE_OFFSET(sluice_request, host, 16);
SLUICE_OFFSET(sluice_request, flags, 20);
SLUICE_OFFSET(sluice_request, target, 24);
SLUICE_OFFSET(sluice_request, headers, 40);
SLUICE_OFFSET(sluice_request, header_count, 48);
SLUICE_OFFSET(sluice_request, auth_slot, 52);
SLUICE_OFFSET(sluice_request, body, 56);
SLUICE_OFFSET(sluice_request, response_bytes_max, 72);
SLUICE_OFFSET(sluice_request, not_before_ms, 80);

SLUICE_SIZE(sluice_failure, 48);
SLUICE_OFFSET(sluice_failure, struct_size, 0);
SLUICE_OFFSET(sluice_failure, failure_class, 4);
SLUICE_OFFSET(sluice_failure, retry_after_ms, 8);
SLUICE_OFFSET(sluice_failure, vendor_code, 16);
SLUICE_OFFSET(sluice_failure, message, 32);

SLUICE_SIZE(sluice_sink, 88);
SLUICE_OFFSET(sluice_sink, struct_size, 0);
SLUICE_OFFSET(sluice_sink, reserved, 4);
SLUICE_OFFSET(sluice_sink, ctx, 8);
SLUICE_OFFSET(sluice_sink, record, 16);
SLUICE_OFFSET(sluice_sink, notice, 24);
SLUICE_OFFSET(sluice_sink, complete_set, 32);
SLUICE_OFFSET(sluice_sink, request, 40);
SLUICE_OFFSET(sluice_sink, checkpoint, 48);
SLUICE_OFFSET(sluice_sink, result, 56);
SLUICE_OFFSET(sluice_sink, fail, 64);
SLUICE_OFFSET(sluice_sink, log, 72);
SLUICE_OFFSET(sluice_sink, total, 80);

SLUICE_SIZE(sluice_host, 24);
SLUICE_OFFSET(sluice_host, struct_size, 0);
SLUICE_OFFSET(sluice_host, abi_major, 4);
SLUICE_OFFSET(sluice_host, abi_minor, 6);
SLUICE_OFFSET(sluice_host, ctx, 8);
SLUICE_OFFSET(sluice_host, query_extension, 16);

SLUICE_SIZE(sluice_open_args, 120);
SLUICE_OFFSET(sluice_open_args, struct_size, 0);
SLUICE_OFFSET(sluice_open_args, operation, 4);
SLUICE_OFFSET(sluice_open_args, config_json, 8);
SLUICE_OFFSET(sluice_open_args, stream, 24);
SLUICE_OFFSET(sluice_open_args, checkpoint_format, 40);
SLUICE_OFFSET(sluice_open_args, type, 44);
SLUICE_OFFSET(sluice_open_args, checkpoint, 48);
SLUICE_OFFSET(sluice_open_args, ids, 64);
SLUICE_OFFSET(sluice_open_args, id_count, 72);
SLUICE_OFFSET(sluice_open_args, records_per_step_max, 76);
SLUICE_OFFSET(sluice_open_args, bytes_per_step_max, 80);
SLUICE_OFFSET(sluice_open_args, payload, 88);
SLUICE_OFFSET(sluice_open_args, headers, 104);
SLUICE_OFFSET(sluice_open_args, header_count, 112);
SLUICE_OFFSET(sluice_open_args, page_size, 116);

SLUICE_SIZE(sluice_input, 72);
SLUICE_OFFSET(sluice_input, struct_size, 0);
SLUICE_OFFSET(sluice_input, kind, 4);
SLUICE_OFFSET(sluice_input, now_ms, 8);
SLUICE_OFFSET(sluice_input, entropy, 16);
SLUICE_OFFSET(sluice_input, request_id, 32);
SLUICE_OFFSET(sluice_input, status, 40);
SLUICE_OFFSET(sluice_input, header_count, 44);
SLUICE_OFFSET(sluice_input, headers, 48);
SLUICE_OFFSET(sluice_input, body, 56);

SLUICE_SIZE(sluice_entry_v1, 64);
SLUICE_OFFSET(sluice_entry_v1, struct_size, 0);
SLUICE_OFFSET(sluice_entry_v1, abi_major, 4);
SLUICE_OFFSET(sluice_entry_v1, built_minor, 6);
SLUICE_OFFSET(sluice_entry_v1, required_minor, 8);
SLUICE_OFFSET(sluice_entry_v1, flags, 10);
SLUICE_OFFSET(sluice_entry_v1, reserved, 12);
SLUICE_OFFSET(sluice_entry_v1, manifest, 16);
SLUICE_OFFSET(sluice_entry_v1, manifest_size, 24);
SLUICE_OFFSET(sluice_entry_v1, open, 32);
SLUICE_OFFSET(sluice_entry_v1, step, 40);
SLUICE_OFFSET(sluice_entry_v1, close, 48);
SLUICE_OFFSET(sluice_entry_v1, query_extension, 56);

#undef SLUICE_SIZE
#undef SLUICE_OFFSET

/* What each struct that is passed by pointer had in 1.0. A receiver accepts at least that much, also where its own is
 * larger by now, and takes what is not there for zero. SLP-B03 */
#define SLUICE_RECORD_SIZE_1_0 80u
#define SLUICE_NOTICE_SIZE_1_0 56u
#define SLUICE_COMPLETE_SET_SIZE_1_0 40u
#define SLUICE_REQUEST_SIZE_1_0 88u
#define SLUICE_FAILURE_SIZE_1_0 48u
#define SLUICE_SINK_SIZE_1_0 88u
#define SLUICE_HOST_SIZE_1_0 24u
#define SLUICE_OPEN_ARGS_SIZE_1_0 120u
#define SLUICE_INPUT_SIZE_1_0 72u
#define SLUICE_ENTRY_SIZE_1_0 64u

#endif /* SLUICE_LAYOUT_H */
