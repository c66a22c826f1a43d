#include "ingest/hash.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstring>

namespace sluice::ingest {
namespace {

using contract::Kind;

constexpr std::string_view kLive = "live";
constexpr std::string_view kWhole = "whole";
/// Its attribute, kind, and length or number.
constexpr std::size_t kOfValueMax =
    sizeof(contract::Value::attribute) + sizeof(std::int32_t) + sizeof(std::uint64_t);

/// Writes part by part where there is room for all of them.
class Form {
 public:
  explicit Form(char* at) : at_(at) {}

  void raw(std::string_view bytes) { at_ += bytes.copy(at_, bytes.size()); }
  template <class Number>
  void number(Number value) {
    std::memcpy(at_, &value, sizeof(value));
    at_ += sizeof(value);
  }
  void text(std::string_view text) {
    number(static_cast<std::uint64_t>(text.size()));
    raw(text);
  }
  [[nodiscard]] const char* end() const { return at_; }

 private:
  char* at_;
};

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
  std::size_t room = kLive.size() + kWhole.size() + input.source_url.size() + input.extra.size() +
                     2 * sizeof(std::uint64_t);
  for (const contract::Value& value : input.values)
    room += kOfValueMax + (has_text(value.kind) ? value.text.size() : 0);
  scratch.resize_and_overwrite(room, [](char*, std::size_t bytes) { return bytes; });
  Form form(scratch.data());
  form.raw(kLive);
  for (const contract::Value& value : input.values) {
    form.number(value.attribute);
    form.number(static_cast<std::int32_t>(value.kind));
    if (has_text(value.kind)) {
      form.text(value.text);
    } else if (value.kind != Kind::null) {
      // A negative zero and zero are one number to PostgreSQL, and to us.
      const bool zero = value.kind == Kind::real && value.real == 0.0;
      form.number(zero ? std::int64_t{0} : value.number);
    }
  }
  form.text(input.source_url);
  form.text(input.extra);
  if (input.whole) form.raw(kWhole);
  return hash(std::string_view(scratch.data(), form.end()));
}

pg::Uuid deleted_hash() { return hash("deleted"); }

}  // namespace sluice::ingest
