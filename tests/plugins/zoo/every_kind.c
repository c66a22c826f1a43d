/* Well-behaved: a record with a value of every kind, a notice, a complete set, named values, a log
 * line. */
#include "plugin.h"

static sluice_status step(ARGS) {
  sluice_value values[9] = {zoo_text(0, "name"),
                            zoo_number(1, SLUICE_INT64, -7),
                            zoo_text(2, "-12.50"),
                            zoo_number(3, SLUICE_DOUBLE, 0),
                            zoo_number(4, SLUICE_BOOL, 1),
                            zoo_number(5, SLUICE_TIMESTAMP, 1700000000000000),
                            zoo_number(6, SLUICE_DATE, 19675),
                            zoo_text(7, "{\"a\":1}"),
                            zoo_text(8, "\xff\x00")};
  values[2].kind = SLUICE_DECIMAL;
  values[3].real = 0.5;
  values[7].kind = SLUICE_JSON;
  values[8].kind = SLUICE_RAW;
  values[8].text.size = 2;
  const sluice_named_value named[] = {{bytes_of("custom_one"), zoo_text(0, "x")}};
  sluice_record record = zoo_record("w1", values, 9);
  record.source_version = 42;
  record.source_url = bytes_of("https://toy.example/w1");
  record.named_values = named;
  record.named_count = 1;
  if (sink->record(sink->ctx, &record) != SLUICE_OK) return SLUICE_E_INTERNAL;
  sluice_record gone = zoo_record("w2", NULL, 0);
  gone.flags = SLUICE_RECORD_DELETED;
  if (sink->record(sink->ctx, &gone) != SLUICE_OK) return SLUICE_E_INTERNAL;
  sluice_notice notice = {.struct_size = sizeof(notice),
                          .external_id = bytes_of("w3"),
                          .kind = SLUICE_NOTICE_MERGED,
                          .merged_into = bytes_of("w1"),
                          .observed_at = 5};
  if (sink->notice(sink->ctx, &notice) != SLUICE_OK) return SLUICE_E_INTERNAL;
  const sluice_bytes ids[] = {bytes_of("w1"), bytes_of("w4")};
  sluice_complete_set set = {.struct_size = sizeof(set),
                             .attribute = 9,
                             .id_count = 2,
                             .equals = bytes_of("box1"),
                             .ids = ids};
  if (sink->complete_set(sink->ctx, &set) != SLUICE_OK) return SLUICE_E_INTERNAL;
  for (int i = 0; i < 150; ++i) sink->log(sink->ctx, SLUICE_LOG_INFO, bytes_of("line\n"));
  sink->total(sink->ctx, 1000);
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
