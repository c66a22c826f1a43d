/* No misdeed of its own: the vendor's data is bad in every way that a record can be, between two
 * good ones. */
#include "plugin.h"

#include <math.h>

static sluice_status put(const sluice_sink* sink, const char* id, sluice_value value) {
  sluice_record record = zoo_record(id, &value, 1);
  return sink->record(sink->ctx, &record);
}

static sluice_status step(ARGS) {
  static char long_id[1026];
  memset(long_id, 'x', 1025);
  put(sink, "good1", zoo_text(0, "caf\xc3\xa9"));
  put(sink, "kind", zoo_number(0, SLUICE_INT64, 1));
  put(sink, "utf8", zoo_text(0, "caf\xc3"));
  put(sink, "surrogate", zoo_text(0, "\xed\xa0\x80"));
  put(sink, "\xff\xfe", zoo_text(0, "a"));
  put(sink, "", zoo_text(0, "a"));
  put(sink, long_id, zoo_text(0, "a"));
  put(sink, "boolean", zoo_number(4, SLUICE_BOOL, 2));
  sluice_value nan_value = zoo_number(3, SLUICE_DOUBLE, 0);
  nan_value.real = NAN;
  put(sink, "nan", nan_value);
  sluice_value decimal = zoo_text(2, "12,5");
  decimal.kind = SLUICE_DECIMAL;
  put(sink, "decimal", decimal);
  put(sink, "date", zoo_number(6, SLUICE_DATE, INT64_MAX));
  /* Valid as one text, but each of the two is cut inside a character. */
  const sluice_value split[] = {zoo_text(0, "\xc3"), zoo_text(10, "\xa9")};
  sluice_record record = zoo_record("split", split, 2);
  sink->record(sink->ctx, &record);
  /* Whole numbers in other forms, which an integer holds exactly, and what it does not. */
  sluice_value whole = zoo_text(1, "1999.0");
  whole.kind = SLUICE_DECIMAL;
  put(sink, "whole", whole);
  sluice_value exponent = zoo_text(1, "-1e3");
  exponent.kind = SLUICE_JSON;
  put(sink, "exponent", exponent);
  sluice_value fraction = zoo_text(1, "19.5");
  fraction.kind = SLUICE_DECIMAL;
  put(sink, "fraction", fraction);
  put(sink, "personal", zoo_number(10, SLUICE_INT64, 12345));
  sluice_value odd = zoo_text(1, "one\nthousand and nine hundred ninety-nine, no less");
  odd.kind = SLUICE_STRING;
  put(sink, "odd", odd);
  put(sink, "good2", zoo_number(0, SLUICE_NULL, 0));
  return SLUICE_STEP_DONE;
}
PLUGIN(step)
