#include "ingest/hash.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstring>

namespace sluice::ingest {
namespace {

using contract::Kind;

template <class Number>
void put(std::string& out, Number value) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  out.append(bytes, sizeof(bytes));
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out.append(text);
}

bool has_text(Kind kind) {
  return kind == Kind::decimal || kind == Kind::string || kind == Kind::raw || kind == Kind::json;
}

pg::Uuid hash(std::string_view text) {
  const XXH128_hash_t hashed = XXH3_128bits(text.data(), text.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hashed);
  pg::Uuid result;
  static_assert(sizeof(result.bytes) == sizeof(canonical.digest));
  std::memcpy(result.bytes, canonical.digest, sizeof(result.bytes));
  return result;
}

}  // namespace

pg::Uuid content_hash(const HashInput& input, std::string& scratch) {
  scratch.assign("live");
  for (const contract::Value& value : input.values) {
    put(scratch, value.attribute);
    put(scratch, static_cast<std::int32_t>(value.kind));
    if (has_text(value.kind)) {
      put_text(scratch, value.text);
    } else if (value.kind != Kind::null) {
      // A negative zero and zero are one number to PostgreSQL, and to us.
      const bool zero = value.kind == Kind::real && value.real == 0.0;
      put(scratch, zero ? std::int64_t{0} : value.number);
    }
  }
  put_text(scratch, input.source_url);
  put_text(scratch, input.extra);
  if (input.whole) scratch.append("whole");
  return hash(scratch);
}

pg::Uuid deleted_hash() { return hash("deleted"); }

}  // namespace sluice::ingest
