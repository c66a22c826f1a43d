#include "connector/sink.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <simdjson.h>

#include <algorithm>
#include <bitset>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "base/ascii.hpp"
#include "base/bytes.hpp"
#include "base/json_text.hpp"
#include "contract/host_headers.hpp"
#include "contract/kinds.hpp"

namespace sluice::connector {
namespace {

using contract::AttributeType;
using contract::Kind;
using contract::Operation;
using contract::StepOutput;
using contract::StepResult;

constexpr std::uint32_t kStructBytesMax = 4096;
constexpr std::size_t kAttributesMax = 1000;  // of one type: manifest.schema.json
constexpr std::size_t kKinds = 10;
/// PostgreSQL's own: 4714-11-24 BC. Its upper end lies beyond 64 bits of microseconds since 1970.
constexpr std::int64_t kTimestampMin = -210'866'803'200'000'000;
constexpr std::int64_t kDateMin = -2'440'588;
constexpr std::int64_t kDateMax = 2'145'042'905;
constexpr std::size_t kDecimalDigitsBeforeMax = 131'072;
constexpr std::size_t kDecimalDigitsAfterMax = 16'383;

/// What 1.0 had of each struct that a connector passes.
template <class T>
constexpr std::uint32_t kSmallest = 0;
template <>
constexpr std::uint32_t kSmallest<sluice_record> = SLUICE_RECORD_SIZE_1_0;
template <>
constexpr std::uint32_t kSmallest<sluice_notice> = SLUICE_NOTICE_SIZE_1_0;
template <>
constexpr std::uint32_t kSmallest<sluice_complete_set> = SLUICE_COMPLETE_SET_SIZE_1_0;
template <>
constexpr std::uint32_t kSmallest<sluice_request> = SLUICE_REQUEST_SIZE_1_0;
template <>
constexpr std::uint32_t kSmallest<sluice_failure> = SLUICE_FAILURE_SIZE_1_0;

std::string_view view(const sluice_bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data), static_cast<std::size_t>(bytes.size)};
}

bool is_text(const sluice_bytes& bytes) { return simdjson::validate_utf8(view(bytes)); }

std::uintptr_t this_thread() { return static_cast<std::uintptr_t>(::pthread_self()); }

constexpr std::uint16_t bit(Kind kind) {
  return static_cast<std::uint16_t>(1u << static_cast<int>(kind));
}

/// SLUICE_NULL … SLUICE_JSON that an attribute of this type takes (sluice_kind in connector.h).
std::uint16_t kinds_of(AttributeType type) {
  const auto own = [&]() -> int {
    switch (type) {
      case AttributeType::text:
        return bit(Kind::string);
      case AttributeType::integer:
        return bit(Kind::int64);
      case AttributeType::decimal:
        return bit(Kind::int64) | bit(Kind::decimal);
      case AttributeType::number:
        return bit(Kind::int64) | bit(Kind::real);
      case AttributeType::boolean:
        return bit(Kind::boolean);
      case AttributeType::timestamp:
        return bit(Kind::timestamp);
      case AttributeType::date:
        return bit(Kind::date);
      case AttributeType::json:
        return bit(Kind::json);
      case AttributeType::bytes:
        return bit(Kind::raw);
    }
    return 0;
  }();
  return static_cast<std::uint16_t>(own | bit(Kind::null));
}

bool has_text(Kind kind) {
  return kind == Kind::string || kind == Kind::json || kind == Kind::decimal || kind == Kind::raw;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// [-]digits[.digits]
bool is_decimal(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const auto digits = [&] {
    const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
    const auto count = static_cast<std::size_t>(end - text.begin());
    text.remove_prefix(count);
    return count;
  };
  const std::size_t before = digits();
  if (before == 0 || before > kDecimalDigitsBeforeMax) return false;
  if (text.empty()) return true;
  if (text.front() != '.') return false;
  text.remove_prefix(1);
  const std::size_t after = digits();
  return after > 0 && after <= kDecimalDigitsAfterMax && text.empty();
}

/// What is wrong with a value that carries a number or a decimal; empty when nothing is. Text is
/// looked at as a whole record at a time.
std::string_view flaw_of(const sluice_value& value) {
  switch (static_cast<Kind>(value.kind)) {
    case Kind::boolean:
      return value.number == 0 || value.number == 1 ? "" : "a boolean is 0 or 1";
    case Kind::real:
      return std::isfinite(value.real) ? "" : "a number is finite";
    case Kind::timestamp:
      return value.number >= kTimestampMin ? "" : "a timestamp is not before 4714 BC";
    case Kind::date:
      return value.number >= kDateMin && value.number <= kDateMax ? "" : "a date is out of range";
    case Kind::decimal:
      return is_decimal(view(value.text)) ? "" : "a decimal is [-]digits[.digits]";
    default:
      return "";
  }
}

/// Printable and valid UTF-8 whatever it was, and not longer than `bytes_max` (plus "…").
std::string presentable(std::string_view text, std::size_t bytes_max) {
  const bool is_valid = simdjson::validate_utf8(text);
  std::string out;
  for (const char c : text) {
    if (out.size() >= bytes_max) {
      while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80)
        out.pop_back();
      if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
      return out + "…";
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !is_valid)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || is_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || c == '_'; });
}

std::string_view status_name(sluice_status status) {
  switch (status) {
    case SLUICE_E_ARG:
      return "SLUICE_E_ARG";
    case SLUICE_E_STATE:
      return "SLUICE_E_STATE";
    case SLUICE_E_THREAD:
      return "SLUICE_E_THREAD";
    case SLUICE_E_LIMIT:
      return "SLUICE_E_LIMIT";
    case SLUICE_E_POLICY:
      return "SLUICE_E_POLICY";
    case SLUICE_E_TOO_NEW:
      return "SLUICE_E_TOO_NEW";
    case SLUICE_E_UNSUPPORTED:
      return "SLUICE_E_UNSUPPORTED";
    case SLUICE_E_INTERNAL:
      return "SLUICE_E_INTERNAL (it failed inside)";
    case SLUICE_E_MEMORY:
      return "SLUICE_E_MEMORY";
    default:
      return "an unknown error";
  }
}

bool takes_records(Operation operation) {
  return operation == Operation::read || operation == Operation::fetch ||
         operation == Operation::receive;
}

bool takes_result(Operation operation) {
  return operation == Operation::check || operation == Operation::discover ||
         operation == Operation::subscribe;
}

}  // namespace

/// The first rule of its own that a record breaks.
struct Sink::Flaw {
  std::string code;
  std::string reason;

  [[nodiscard]] bool found() const { return !code.empty(); }
  void set(std::string_view with_code, std::string with_reason) {
    if (found()) return;
    code = with_code;
    reason = std::move(with_reason);
  }
};

/// Bytes that a record's texts take in the page: UTF-8 (with id and URL) and raw.
struct Sink::Sizes {
  std::uint64_t text = 0;
  std::uint64_t raw = 0;
};

/// The table's functions: nothing may be thrown into a connector.
struct Sink::Calls {
  template <class Body>
  static sluice_status guarded(void* ctx, const Body& body) noexcept {
    Sink& sink = *static_cast<Sink*>(ctx);
    if (const sluice_status status = sink.enter(); status != SLUICE_OK) return status;
    try {
      return body(sink);
    } catch (const std::bad_alloc&) {
      return SLUICE_E_MEMORY;
    } catch (...) {
      return SLUICE_E_INTERNAL;
    }
  }
  static sluice_status record(void* ctx, const sluice_record* value) {
    return guarded(ctx, [&](Sink& sink) { return sink.record(value); });
  }
  static sluice_status notice(void* ctx, const sluice_notice* value) {
    return guarded(ctx, [&](Sink& sink) { return sink.notice(value); });
  }
  static sluice_status complete_set(void* ctx, const sluice_complete_set* value) {
    return guarded(ctx, [&](Sink& sink) { return sink.complete_set(value); });
  }
  static sluice_status request(void* ctx, const sluice_request* value) {
    return guarded(ctx, [&](Sink& sink) { return sink.request(value); });
  }
  static sluice_status checkpoint(void* ctx, sluice_bytes value) {
    return guarded(ctx, [&](Sink& sink) { return sink.checkpoint(value); });
  }
  static sluice_status result(void* ctx, sluice_bytes json) {
    return guarded(ctx, [&](Sink& sink) { return sink.result(json); });
  }
  static sluice_status fail(void* ctx, const sluice_failure* value) {
    return guarded(ctx, [&](Sink& sink) { return sink.fail_with(value); });
  }
  static sluice_status log(void* ctx, std::int32_t level, sluice_bytes message) {
    return guarded(ctx, [&](Sink& sink) { return sink.log_line(level, message); });
  }
  static sluice_status total(void* ctx, std::int64_t records) {
    return guarded(ctx, [&](Sink& sink) { return sink.total(records); });
  }
};

Sink::Sink(const contract::Manifest& manifest, const contract::SessionArgs& args,
           const contract::Stream* stream)
    : manifest_(manifest),
      operation_(args.operation),
      records_max_(args.records_per_step_max),
      bytes_max_(args.bytes_per_step_max) {
  for (const contract::EntityType& type : manifest.entity_types) {
    KindMasks& masks = kinds_.emplace_back();
    for (const contract::Attribute& attribute : type.attributes) {
      masks.push_back(kinds_of(attribute.type));
    }
    const bool is_listed =
        stream == nullptr || std::find(stream->entity_types.begin(), stream->entity_types.end(),
                                       type.name) != stream->entity_types.end();
    stream_types_.push_back(is_listed);
  }
  table_.struct_size = sizeof(table_);
  table_.ctx = this;
  table_.record = &Calls::record;
  table_.notice = &Calls::notice;
  table_.complete_set = &Calls::complete_set;
  table_.request = &Calls::request;
  table_.checkpoint = &Calls::checkpoint;
  table_.result = &Calls::result;
  table_.fail = &Calls::fail;
  table_.log = &Calls::log;
  table_.total = &Calls::total;
}

// ---- the step around it ----

void Sink::begin() {
  output_ = StepOutput{};
  items_ = 0;
  value_bytes_ = 0;
  log_lines_left_out_ = 0;
  violation_.reset();
  thread_.store(this_thread(), std::memory_order_release);
}

void Sink::blame(std::string_view rule, std::string what) {
  if (!violation_) violation_ = Violation{std::string(rule), std::move(what)};
}

Result<StepOutput> Sink::finish(sluice_status status, std::int64_t wake_at_ms, bool cancelling) {
  thread_.store(0, std::memory_order_release);
  if (called_outside_.exchange(false)) {
    blame("SLP-S06", "the sink was used outside step(), or from another thread");
  }
  if (!violation_) check_agreement(status, wake_at_ms, cancelling);
  if (violation_) {
    output_ = StepOutput{};
    return fail(ErrorKind::internal, "connector.contract",
                fmt::format("connector '{}' broke rule {}: {}", manifest_.id, violation_->rule,
                            violation_->what),
                "Nothing of this step was stored. Report it to the connector's author");
  }
  output_.result = static_cast<StepResult>(status);
  if (output_.result == StepResult::sleep) output_.wake_at_ms = wake_at_ms;
  if (output_.result == StepResult::failed) output_.requests.clear();
  if (log_lines_left_out_ > 0) {
    output_.log.push_back({.level = SLUICE_LOG_WARNING,
                           .message = fmt::format("{} more log lines of this step were left out",
                                                  log_lines_left_out_)});
  }
  for (const contract::Request& request : output_.requests) outstanding_.push_back(request.id);
  has_result_ |= output_.result_json.has_value();
  return std::exchange(output_, StepOutput{});
}

void Sink::check_agreement(sluice_status status, std::int64_t wake_at_ms, bool cancelling) {
  if (status < 0) {
    return blame("SLP-S07", fmt::format("step() returned {} ({}), and the host had refused nothing",
                                        status_name(status), status));
  }
  if (status < SLUICE_STEP_WAIT || status > SLUICE_STEP_FAILED) {
    return blame("SLP-S08", fmt::format("step() returned {}, which is no result", status));
  }
  if ((status == SLUICE_STEP_FAILED) != output_.failure.has_value()) {
    return blame("SLP-S08", output_.failure ? "fail() was called, but step() did not return FAILED"
                                            : "step() returned FAILED without fail()");
  }
  if (status == SLUICE_STEP_WAIT && outstanding_.empty() && output_.requests.empty()) {
    return blame("SLP-S08", "step() returned WAIT, but no request is outstanding");
  }
  if (status == SLUICE_STEP_SLEEP && wake_at_ms <= 0) {
    return blame("SLP-S08", fmt::format("step() returned SLEEP with wake_at_ms {}", wake_at_ms));
  }
  if (status != SLUICE_STEP_DONE) return;
  if (!output_.requests.empty() || (!outstanding_.empty() && !cancelling)) {
    return blame("SLP-S08", fmt::format("step() returned DONE, but {} requests are outstanding",
                                        output_.requests.size() + outstanding_.size()));
  }
  if (takes_result(operation_) && !cancelling && !has_result_ && !output_.result_json) {
    return blame("SLP-X01", "step() returned DONE, but this operation answers with result() first");
  }
}

bool Sink::is_outstanding(std::uint64_t request_id) const {
  return std::find(outstanding_.begin(), outstanding_.end(), request_id) != outstanding_.end();
}

void Sink::answered(std::uint64_t request_id) { std::erase(outstanding_, request_id); }

// ---- what every call checks ----

sluice_status Sink::enter() {
  const std::uintptr_t inside = thread_.load(std::memory_order_acquire);
  if (inside == this_thread()) [[likely]]
    return violation_ ? SLUICE_E_STATE : SLUICE_OK;
  called_outside_.store(true);
  return inside == 0 ? SLUICE_E_STATE : SLUICE_E_THREAD;
}

sluice_status Sink::broken(sluice_status status, std::string_view rule, std::string what) {
  blame(rule, std::move(what));
  return status;
}

/// SLP-B03. The part beyond what we know is compared with zero; one that an older contract made is
/// copied into `grown`, where what it lacks is zero, and `value` is that from then on.
template <class T>
sluice_status Sink::check_struct(const T*& value, T& grown, std::string_view name) {
  if (value == nullptr) return broken(SLUICE_E_ARG, "SLP-B03", fmt::format("{} is NULL", name));
  const std::uint32_t size = value->struct_size;
  if (size == sizeof(T)) [[likely]]
    return SLUICE_OK;
  if (size < kSmallest<T> || size > kStructBytesMax) {
    return broken(SLUICE_E_ARG, "SLP-B03",
                  fmt::format("{}.struct_size is {}; the contract's is {}", name, size, sizeof(T)));
  }
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(value);
  if (size < sizeof(T)) {
    grown = T{};
    std::memcpy(static_cast<void*>(&grown), bytes, size);
    value = &grown;
    return SLUICE_OK;
  }
  if (std::any_of(bytes + sizeof(T), bytes + size, [](std::uint8_t byte) { return byte != 0; })) {
    return broken(SLUICE_E_TOO_NEW, "SLP-B03",
                  fmt::format("{} has members that this host does not know", name));
  }
  return SLUICE_OK;
}

sluice_status Sink::check_bytes(const sluice_bytes& bytes, std::string_view name) {
  if (bytes.data != nullptr || bytes.size == 0) [[likely]]
    return SLUICE_OK;
  return broken(SLUICE_E_ARG, "SLP-B01", fmt::format("{} is NULL with size {}", name, bytes.size));
}

sluice_status Sink::check_type(std::uint32_t type, std::string_view name) {
  if (type >= kinds_.size()) {
    return broken(
        SLUICE_E_ARG, "SLP-D01",
        fmt::format("{}.type is {}, but there are {} entity types", name, type, kinds_.size()));
  }
  if (!stream_types_[type]) {
    return broken(SLUICE_E_POLICY, "SLP-D02",
                  fmt::format("{}.type is '{}', which the manifest does not list for this stream",
                              name, manifest_.entity_types[type].name));
  }
  return SLUICE_OK;
}

sluice_status Sink::needs_operation(bool allowed, std::string_view call) {
  if (allowed) [[likely]]
    return SLUICE_OK;
  return broken(SLUICE_E_STATE, "SLP-S09",
                fmt::format("{}() does not belong to this operation", call));
}

sluice_status Sink::room() {
  if (items_ >= records_max_ + kRecordsAfterStopMax) {
    return broken(
        SLUICE_E_LIMIT, "SLP-L05",
        fmt::format("{} records after the step's limit of {}; finish the step at SLUICE_STOP",
                    items_ - records_max_, records_max_));
  }
  if (output_.page.byte_size() + value_bytes_ >= bytes_max_ + kBytesAfterStopMax) {
    return broken(SLUICE_E_LIMIT, "SLP-L05",
                  fmt::format("more than {} bytes after the step's limit of {}; finish the step at "
                              "SLUICE_STOP",
                              kBytesAfterStopMax, bytes_max_));
  }
  return SLUICE_OK;
}

sluice_status Sink::taken(std::uint64_t bytes) {
  ++items_;
  value_bytes_ += bytes;
  const bool is_full =
      items_ >= records_max_ || output_.page.byte_size() + value_bytes_ >= bytes_max_;
  return is_full ? SLUICE_STOP : SLUICE_OK;
}

void Sink::reject(std::uint32_t type, const sluice_bytes& id, std::string code,
                  std::string reason) {
  const std::string_view raw = view(id).substr(0, 4 * kExternalIdBytesMax);
  output_.page.rejected.push_back({.type = type,
                                   .external_id = presentable(raw, kExternalIdBytesMax),
                                   .code = std::move(code),
                                   .reason = std::move(reason)});
}

constexpr std::string_view kUnreadable = "\xEF\xBF\xBD";  ///< U+FFFD

/// True when the id is unusable, after it was put among the page's rejected.
bool Sink::reject_bad_id(std::uint32_t type, const sluice_bytes& id) {
  if (id.size == 0 || id.size > kExternalIdBytesMax) {
    reject(type, id, "record.bad_external_id",
           fmt::format("the external id has {} bytes; 1 to {} are allowed", id.size,
                       kExternalIdBytesMax));
    return true;
  }
  // Under no id at all: what stands for the unreadable bytes would make two objects one, and what
  // is stored of one of them would look as if the vendor had it no more.
  const std::string_view text = view(id);
  const char* flaw = !is_text(id)                                ? "is no UTF-8"
                     : text.find('\0') != std::string_view::npos ? "holds U+0000"
                     : text.find(kUnreadable) != std::string_view::npos
                         ? "holds U+FFFD, which stands for what was no UTF-8"
                         : nullptr;
  if (flaw != nullptr) {
    reject(type, sluice_bytes{}, "record.bad_external_id",
           fmt::format("the external id '{}' {}", presentable(text, kExternalIdBytesMax), flaw));
    return true;
  }
  return false;
}

// ---- records ----

std::string Sink::attribute_name(std::uint32_t type, std::uint32_t attribute) const {
  return manifest_.entity_types[type].attributes[attribute].name;
}

namespace {

/// Why a value of a kind that its attribute does not take as it stands is refused; empty when the
/// attribute can hold it all the same.
std::string kind_problem(const contract::Attribute& attribute, const sluice_value& value) {
  contract::Value came;
  came.kind = static_cast<Kind>(value.kind);
  if (has_text(came.kind)) {
    came.text = view(value.text);
  } else {
    came.number = value.number;  // or the double of the same bytes
  }
  if (contract::holds_exactly(attribute.type, came.kind, came.text)) return {};
  const bool shown = !attribute.is_protected && !attribute.personal;
  return contract::wrong_kind(attribute.name, attribute.type,
                              shown ? contract::Shown::yes : contract::Shown::no, came);
}

}  // namespace

/// One pass over the values as they lie in the connector's memory: structure, kinds, numbers,
/// sizes.
sluice_status Sink::scan_values(const sluice_record& from, Sizes& sizes, Flaw& flaw) {
  const KindMasks& masks = kinds_[from.type];
  std::int64_t last = -1;
  bool ascending = true;
  for (std::uint32_t i = 0; i < from.value_count; ++i) {
    const sluice_value& value = from.values[i];
    if (value.attribute >= masks.size() || value.kind < 0 ||
        value.kind >= static_cast<sluice_kind>(kKinds)) [[unlikely]] {
      return broken(
          SLUICE_E_ARG, "SLP-D01",
          fmt::format("record.values[{}] has attribute {} and kind {}; '{}' has {} attributes", i,
                      value.attribute, value.kind, manifest_.entity_types[from.type].name,
                      masks.size()));
    }
    ascending &= value.attribute > last;
    last = value.attribute;
    const auto kind = static_cast<Kind>(value.kind);
    const bool is_taken = (masks[value.attribute] & bit(kind)) != 0;
    if (has_text(kind)) {
      if (auto status = check_bytes(value.text, "record.values[].text"); status != SLUICE_OK)
        return status;
      if (value.text.size > kRecordBytesMax) [[unlikely]] {
        flaw.set("record.too_large",
                 fmt::format("attribute '{}' has {} bytes; at most {} are allowed",
                             attribute_name(from.type, value.attribute), value.text.size,
                             kRecordBytesMax));
        continue;
      }
      (kind == Kind::raw ? sizes.raw : sizes.text) += value.text.size;
    }
    if (!is_taken) [[unlikely]] {
      std::string wrong =
          kind_problem(manifest_.entity_types[from.type].attributes[value.attribute], value);
      if (!wrong.empty()) flaw.set("record.wrong_kind", std::move(wrong));
      continue;
    }
    if (kind == Kind::string || kind == Kind::int64) continue;
    if (const std::string_view wrong = flaw_of(value); !wrong.empty()) [[unlikely]] {
      flaw.set("record.bad_value", fmt::format("attribute '{}': {}",
                                               attribute_name(from.type, value.attribute), wrong));
    }
  }
  if (ascending) [[likely]]
    return SLUICE_OK;
  std::bitset<kAttributesMax> seen;
  for (std::uint32_t i = 0; i < from.value_count; ++i) {
    const std::uint32_t attribute = from.values[i].attribute;
    if (seen.test(attribute)) {
      return broken(SLUICE_E_ARG, "SLP-D01",
                    fmt::format("record.values lists attribute '{}' twice",
                                attribute_name(from.type, attribute)));
    }
    seen.set(attribute);
  }
  return SLUICE_OK;
}

/// Which text it was that is no UTF-8.
void Sink::find_bad_text(const sluice_record& from, Flaw& flaw) const {
  for (std::uint32_t i = 0; i < from.value_count; ++i) {
    const sluice_value& value = from.values[i];
    const auto kind = static_cast<Kind>(value.kind);
    if (!has_text(kind) || kind == Kind::raw || is_text(value.text)) continue;
    flaw.set("record.bad_text",
             fmt::format("attribute '{}' is no UTF-8", attribute_name(from.type, value.attribute)));
  }
  flaw.set("record.bad_text", "the source URL is no UTF-8");
}

/// All of a record's text goes into one block, which is validated at once: a block that is UTF-8
/// and whose parts each begin at a character is made of parts that are UTF-8.
bool Sink::copy_record(const sluice_record& from, const Sizes& sizes, Flaw& flaw) {
  contract::Page& page = output_.page;
  const std::span<contract::Value> values = page.allocate<contract::Value>(from.value_count);
  char* text = page.reserve_text(sizes.text + sizes.raw);
  const char* const begin = text;
  char* raw = text + sizes.text;
  bool starts_inside_character = false;
  const auto copy = [](char*& to, const sluice_bytes& bytes) {
    if (bytes.size == 0) return std::string_view{};
    std::memcpy(to, bytes.data, bytes.size);
    const std::string_view kept(to, bytes.size);
    to += bytes.size;
    return kept;
  };
  const auto copy_text = [&](const sluice_bytes& bytes) {
    const std::string_view kept = copy(text, bytes);
    if (!kept.empty()) {
      starts_inside_character |= (static_cast<unsigned char>(kept.front()) & 0xC0) == 0x80;
    }
    return kept;
  };

  contract::Record to;
  to.type = from.type;
  to.external_id = copy_text(from.external_id);
  to.source_version = from.source_version;
  to.deleted = (from.flags & SLUICE_RECORD_DELETED) != 0;
  to.whole = (from.flags & SLUICE_RECORD_WHOLE) != 0;
  to.source_url = copy_text(from.source_url);
  for (std::uint32_t i = 0; i < from.value_count; ++i) {
    const sluice_value& value = from.values[i];
    contract::Value& kept = *new (&values[i]) contract::Value;
    kept.attribute = value.attribute;
    kept.kind = static_cast<Kind>(value.kind);
    if (kept.kind == Kind::raw) {
      kept.text = copy(raw, value.text);
    } else if (has_text(kept.kind)) {
      kept.text = copy_text(value.text);
    } else if (kept.kind != Kind::null) {
      kept.number = value.number;  // or the double of the same bytes
    }
  }
  to.values = values;
  if (starts_inside_character || !simdjson::validate_utf8(begin, sizes.text)) [[unlikely]] {
    find_bad_text(from, flaw);
    return false;
  }
  if (from.named_count > 0 && !copy_named(from, to, flaw)) return false;
  page.records.push_back(to);
  return true;
}

bool Sink::copy_named(const sluice_record& from, contract::Record& to, Flaw& flaw) {
  contract::Page& page = output_.page;
  const std::span<contract::NamedValue> named =
      page.allocate<contract::NamedValue>(from.named_count);
  for (std::uint32_t i = 0; i < from.named_count; ++i) {
    const sluice_bytes& name = from.named_values[i].name;
    const sluice_value& value = from.named_values[i].value;
    if (name.data == nullptr || !is_name(view(name))) {
      flaw.set("record.bad_name",
               fmt::format("named value {}: a name is [a-z_][a-z0-9_]*, 1 to 63 bytes", i));
      return false;
    }
    const std::string_view kept_name = page.keep(view(name));
    for (std::uint32_t k = 0; k < i; ++k) {
      if (named[k].name == kept_name) {
        flaw.set("record.bad_name", fmt::format("named value '{}' stands twice", kept_name));
        return false;
      }
    }
    contract::NamedValue& kept = *new (&named[i]) contract::NamedValue;
    kept.name = kept_name;
    kept.value.kind = static_cast<Kind>(value.kind);
    const bool is_text_kind = has_text(kept.value.kind);
    std::string_view wrong = flaw_of(value);
    if (is_text_kind && kept.value.kind != Kind::raw && !is_text(value.text))
      wrong = "text is UTF-8";
    if (!wrong.empty()) {
      flaw.set("record.bad_value", fmt::format("named value '{}': {}", kept_name, wrong));
      return false;
    }
    if (is_text_kind) {
      kept.value.text = page.keep(view(value.text));
    } else if (kept.value.kind != Kind::null) {
      kept.value.number = value.number;
    }
  }
  to.named = named;
  return true;
}

sluice_status Sink::record(const sluice_record* record) {
  sluice_record grown;
  if (auto s = check_struct(record, grown, "record"); s != SLUICE_OK) return s;
  const sluice_record& from = *record;
  if (auto s = check_type(from.type, "record"); s != SLUICE_OK) return s;
  if (auto s = needs_operation(takes_records(operation_), "record"); s != SLUICE_OK) return s;
  if (auto s = room(); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.external_id, "record.external_id"); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.source_url, "record.source_url"); s != SLUICE_OK) return s;
  if ((from.flags & ~(SLUICE_RECORD_DELETED | SLUICE_RECORD_WHOLE)) != 0 || from.reserved != 0) {
    return broken(
        SLUICE_E_ARG, "SLP-D01",
        fmt::format("record.flags {:#x} or reserved {} is not known", from.flags, from.reserved));
  }
  if (from.value_count > kinds_[from.type].size() ||
      (from.value_count > 0 && from.values == nullptr)) {
    return broken(SLUICE_E_ARG, "SLP-D01",
                  fmt::format("record.value_count is {}; '{}' has {} attributes", from.value_count,
                              manifest_.entity_types[from.type].name, kinds_[from.type].size()));
  }
  if (from.named_count > 0 && from.named_values == nullptr) {
    return broken(SLUICE_E_ARG, "SLP-D01",
                  fmt::format("record.named_values is NULL with named_count {}", from.named_count));
  }
  Flaw flaw;
  Sizes sizes{.text = from.external_id.size + from.source_url.size, .raw = 0};
  if (auto s = scan_values(from, sizes, flaw); s != SLUICE_OK) return s;
  if (reject_bad_id(from.type, from.external_id)) return taken(0);
  if (from.source_version < 0) flaw.set("record.bad_version", "the source version is below zero");
  if (from.source_url.size > kSourceUrlBytesMax) {
    flaw.set("record.bad_source_url",
             fmt::format("the source URL has {} bytes; at most {} are allowed",
                         from.source_url.size, kSourceUrlBytesMax));
  }
  if (from.named_count > kNamedValuesMax) {
    flaw.set("record.too_large", fmt::format("{} named values; at most {} are allowed",
                                             from.named_count, kNamedValuesMax));
  }
  std::uint64_t named_bytes = 0;
  for (std::uint32_t i = 0; !flaw.found() && i < from.named_count; ++i) {
    const sluice_value& value = from.named_values[i].value;
    if (value.kind < 0 || value.kind >= static_cast<sluice_kind>(kKinds)) {
      return broken(SLUICE_E_ARG, "SLP-D01",
                    fmt::format("record.named_values[{}] has kind {}", i, value.kind));
    }
    if (!has_text(static_cast<Kind>(value.kind))) continue;
    if (auto s = check_bytes(value.text, "record.named_values[].text"); s != SLUICE_OK) return s;
    named_bytes += std::min(value.text.size, kRecordBytesMax + 1);
  }
  if (sizes.text + sizes.raw + named_bytes > kRecordBytesMax) {
    flaw.set("record.too_large", fmt::format("the record has more than {} bytes", kRecordBytesMax));
  }
  if (flaw.found() || !copy_record(from, sizes, flaw)) {
    reject(from.type, from.external_id, std::move(flaw.code), std::move(flaw.reason));
    return taken(0);
  }
  return taken(sizeof(contract::Record) + from.value_count * sizeof(contract::Value));
}

// ---- notices and sets ----

sluice_status Sink::notice(const sluice_notice* notice) {
  sluice_notice grown;
  if (auto s = check_struct(notice, grown, "notice"); s != SLUICE_OK) return s;
  const sluice_notice& from = *notice;
  if (auto s = check_type(from.type, "notice"); s != SLUICE_OK) return s;
  if (auto s = needs_operation(takes_records(operation_), "notice"); s != SLUICE_OK) return s;
  if (auto s = room(); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.external_id, "notice.external_id"); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.merged_into, "notice.merged_into"); s != SLUICE_OK) return s;
  if (from.kind < SLUICE_NOTICE_CHANGED || from.kind > SLUICE_NOTICE_MERGED || from.reserved != 0) {
    return broken(
        SLUICE_E_ARG, "SLP-D01",
        fmt::format("notice.kind {} or reserved {} is not known", from.kind, from.reserved));
  }
  const bool is_merge = from.kind == SLUICE_NOTICE_MERGED;
  if (is_merge != (from.merged_into.size > 0)) {
    return broken(SLUICE_E_ARG, "SLP-D01",
                  "notice.merged_into goes with kind MERGED, and only with it");
  }
  if (reject_bad_id(from.type, from.external_id)) return taken(0);
  if (is_merge && reject_bad_id(from.type, from.merged_into)) return taken(0);
  output_.page.notices.push_back({.type = from.type,
                                  .external_id = output_.page.keep(view(from.external_id)),
                                  .kind = static_cast<contract::NoticeKind>(from.kind),
                                  .observed_at = from.observed_at,
                                  .merged_into = output_.page.keep(view(from.merged_into))});
  return taken(sizeof(contract::Notice));
}

sluice_status Sink::complete_set(const sluice_complete_set* set) {
  sluice_complete_set grown;
  if (auto s = check_struct(set, grown, "complete_set"); s != SLUICE_OK) return s;
  const sluice_complete_set& from = *set;
  if (auto s = check_type(from.type, "complete_set"); s != SLUICE_OK) return s;
  if (auto s = needs_operation(takes_records(operation_), "complete_set"); s != SLUICE_OK) return s;
  if (auto s = room(); s != SLUICE_OK) return s;
  const contract::EntityType& type = manifest_.entity_types[from.type];
  const bool is_edge =
      from.attribute < type.attributes.size() &&
      std::any_of(type.relationships.begin(), type.relationships.end(), [&](const auto& edge) {
        return edge.attribute == type.attributes[from.attribute].name;
      });
  if (!is_edge) {
    return broken(SLUICE_E_ARG, "SLP-D03",
                  fmt::format("complete_set.attribute {} of '{}' is used by no relationship",
                              from.attribute, type.name));
  }
  if (from.id_count > kSetIdsMax || (from.id_count > 0 && from.ids == nullptr)) {
    return broken(SLUICE_E_LIMIT, "SLP-D03",
                  fmt::format("complete_set.id_count is {}; at most {} are taken", from.id_count,
                              kSetIdsMax));
  }
  // A set with a hole would delete what is there: here a bad id is no matter of one record.
  const auto is_bad = [](const sluice_bytes& id) {
    return id.data == nullptr || id.size == 0 || id.size > kExternalIdBytesMax || !is_text(id) ||
           std::memchr(id.data, 0, id.size) != nullptr;
  };
  if (is_bad(from.equals) || std::any_of(from.ids, from.ids + from.id_count, is_bad)) {
    return broken(SLUICE_E_ARG, "SLP-D03",
                  "complete_set: an id or 'equals' is empty, too long or no UTF-8");
  }
  contract::Page& page = output_.page;
  const std::span<std::string_view> ids = page.allocate<std::string_view>(from.id_count);
  for (std::uint32_t i = 0; i < from.id_count; ++i) {
    new (&ids[i]) std::string_view(page.keep(view(from.ids[i])));
  }
  page.sets.push_back({.type = from.type,
                       .attribute = from.attribute,
                       .equals = page.keep(view(from.equals)),
                       .ids = ids});
  return taken(sizeof(contract::CompleteSet) + ids.size_bytes());
}

// ---- requests ----

sluice_status Sink::request_headers(const sluice_request& from, contract::Request& to) {
  if (from.header_count > kRequestHeadersMax ||
      (from.header_count > 0 && from.headers == nullptr)) {
    return broken(SLUICE_E_LIMIT, "SLP-R02",
                  fmt::format("request.header_count is {}; at most {} are sent", from.header_count,
                              kRequestHeadersMax));
  }
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < from.header_count; ++i) {
    const sluice_header& header = from.headers[i];
    if (auto s = check_bytes(header.name, "request.headers[].name"); s != SLUICE_OK) return s;
    if (auto s = check_bytes(header.value, "request.headers[].value"); s != SLUICE_OK) return s;
    if (header.name.size > kRequestHeaderBytesMax || header.value.size > kRequestHeaderBytesMax ||
        (bytes += header.name.size + header.value.size) > kRequestHeaderBytesMax) {
      return broken(SLUICE_E_LIMIT, "SLP-R02",
                    fmt::format("request.headers have more than {} bytes", kRequestHeaderBytesMax));
    }
    const std::string_view value = view(header.value);
    const bool has_control = std::any_of(value.begin(), value.end(), [](char c) {
      return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
    });
    if (!is_token(view(header.name)) || has_control || !is_text(header.value)) {
      return broken(
          SLUICE_E_ARG, "SLP-R02",
          fmt::format("request.headers[{}]: no valid name, or CR, LF, NUL or no UTF-8 in the value",
                      i));
    }
    const std::string name = in_lower_case(view(header.name));
    const bool is_credential = std::any_of(manifest_.auth.begin(), manifest_.auth.end(),
                                           [&](const contract::AuthSlot& slot) {
                                             return slot.scheme == contract::AuthScheme::header &&
                                                    in_lower_case(slot.parameter) == name;
                                           });
    if (is_credential || contract::host_header(name) != contract::HostHeader::none) {
      return broken(
          SLUICE_E_POLICY, "SLP-R01",
          fmt::format("request.headers[{}] is '{}', which only the host may set", i, name));
    }
    to.headers.emplace_back(view(header.name), value);
  }
  return SLUICE_OK;
}

sluice_status Sink::request(const sluice_request* request) {
  sluice_request grown;
  if (auto s = check_struct(request, grown, "request"); s != SLUICE_OK) return s;
  const sluice_request& from = *request;
  if (from.method < SLUICE_GET || from.method > SLUICE_DELETE ||
      (from.flags & ~SLUICE_REQUEST_IDEMPOTENT) != 0 || from.not_before_ms < 0) {
    return broken(SLUICE_E_ARG, "SLP-R02",
                  fmt::format("request.method {}, flags {:#x} or not_before_ms {}", from.method,
                              from.flags, from.not_before_ms));
  }
  const bool is_known =
      std::any_of(output_.requests.begin(), output_.requests.end(),
                  [&](const contract::Request& other) { return other.id == from.id; });
  if (from.id == 0 || is_known || is_outstanding(from.id)) {
    return broken(SLUICE_E_ARG, "SLP-R02",
                  fmt::format("request.id {} is zero or outstanding already", from.id));
  }
  if (outstanding_.size() + output_.requests.size() >= SLUICE_REQUESTS_OUTSTANDING_MAX) {
    return broken(
        SLUICE_E_LIMIT, "SLP-R02",
        fmt::format("more than {} requests of a session out at once; await one before the "
                    "next is made",
                    SLUICE_REQUESTS_OUTSTANDING_MAX));
  }
  if (from.host >= manifest_.hosts.size()) {
    return broken(SLUICE_E_POLICY, "SLP-R01",
                  fmt::format("request.host is {}; the manifest declares {} hosts", from.host,
                              manifest_.hosts.size()));
  }
  if (from.auth_slot != SLUICE_NO_AUTH && from.auth_slot >= manifest_.auth.size()) {
    return broken(SLUICE_E_POLICY, "SLP-R01",
                  fmt::format("request.auth_slot is {}; the manifest declares {}", from.auth_slot,
                              manifest_.auth.size()));
  }
  if (auto s = check_bytes(from.target, "request.target"); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.body, "request.body"); s != SLUICE_OK) return s;
  if (from.target.size > kRequestTargetBytesMax || from.body.size > kRequestBodyBytesMax) {
    return broken(SLUICE_E_LIMIT, "SLP-R02",
                  fmt::format("request.target has {} bytes (at most {}), body {} (at most {})",
                              from.target.size, kRequestTargetBytesMax, from.body.size,
                              kRequestBodyBytesMax));
  }
  const std::string_view target = view(from.target);
  const bool is_clean = std::all_of(target.begin(), target.end(), [](char c) {
    return c > 0x20 && c < 0x7F && c != '#' && c != '\\';
  });
  if (!target.starts_with('/') || !is_clean) {
    return broken(
        target.starts_with('/') ? SLUICE_E_ARG : SLUICE_E_POLICY, "SLP-R01",
        "request.target is path and query, percent-encoded, from '/' on: no URL, no blank, no '#'");
  }
  contract::Request to;
  if (auto s = request_headers(from, to); s != SLUICE_OK) return s;
  to.id = from.id;
  to.method = static_cast<contract::Method>(from.method);
  to.host = from.host;
  to.target = target;
  to.body = view(from.body);
  if (from.auth_slot != SLUICE_NO_AUTH) to.auth_slot = from.auth_slot;
  to.idempotent = from.method == SLUICE_GET || (from.flags & SLUICE_REQUEST_IDEMPOTENT) != 0;
  to.response_bytes_max = from.response_bytes_max;
  to.not_before_ms = from.not_before_ms;
  output_.requests.push_back(std::move(to));
  return SLUICE_OK;
}

// ---- checkpoint, result, failure, log, total ----

sluice_status Sink::checkpoint(sluice_bytes checkpoint) {
  if (auto s = needs_operation(operation_ == Operation::read, "checkpoint"); s != SLUICE_OK)
    return s;
  if (auto s = check_bytes(checkpoint, "checkpoint"); s != SLUICE_OK) return s;
  if (checkpoint.size == 0 || checkpoint.size > SLUICE_CHECKPOINT_BYTES_MAX) {
    return broken(SLUICE_E_LIMIT, "SLP-C01",
                  fmt::format("a checkpoint of {} bytes; 1 to {} are taken", checkpoint.size,
                              SLUICE_CHECKPOINT_BYTES_MAX));
  }
  output_.checkpoint = std::string(view(checkpoint));
  return SLUICE_OK;
}

sluice_status Sink::result(sluice_bytes json) {
  if (auto s = needs_operation(takes_result(operation_), "result"); s != SLUICE_OK) return s;
  if (auto s = check_bytes(json, "result"); s != SLUICE_OK) return s;
  if (has_result_ || output_.result_json) {
    return broken(SLUICE_E_STATE, "SLP-X01", "result() was called twice");
  }
  const auto is_json = [&json] {
    const JsonCheck check = check_json(view(json));
    return is_text(json) && check.ok() && !check.has_lone_surrogate;
  };
  if (json.size > kResultBytesMax || !is_json()) {
    return broken(SLUICE_E_ARG, "SLP-X01",
                  fmt::format("result() of {} bytes is no JSON, or has more than {}", json.size,
                              kResultBytesMax));
  }
  output_.result_json = std::string(view(json));
  return SLUICE_OK;
}

sluice_status Sink::fail_with(const sluice_failure* failure) {
  sluice_failure grown;
  if (auto s = check_struct(failure, grown, "failure"); s != SLUICE_OK) return s;
  const sluice_failure& from = *failure;
  if (output_.failure)
    return broken(SLUICE_E_STATE, "SLP-F01", "fail() was called twice in one step");
  if (from.failure_class < SLUICE_FAIL_AUTH || from.failure_class > SLUICE_FAIL_INTERNAL ||
      from.retry_after_ms < 0) {
    return broken(SLUICE_E_ARG, "SLP-F01",
                  fmt::format("failure.failure_class {} or retry_after_ms {}", from.failure_class,
                              from.retry_after_ms));
  }
  if (auto s = check_bytes(from.vendor_code, "failure.vendor_code"); s != SLUICE_OK) return s;
  if (auto s = check_bytes(from.message, "failure.message"); s != SLUICE_OK) return s;
  // Too long or no UTF-8 is made presentable, not refused: the vendor's words must not hide the
  // failure.
  output_.failure = contract::ConnectorFailure{
      .failure_class = static_cast<contract::FailureClass>(from.failure_class),
      .retry_after_ms = from.retry_after_ms,
      .vendor_code = presentable(view(from.vendor_code), kVendorCodeBytesMax),
      .message = presentable(view(from.message), kFailureMessageBytesMax)};
  return SLUICE_OK;
}

sluice_status Sink::log_line(std::int32_t level, sluice_bytes message) {
  if (level < SLUICE_LOG_DEBUG || level > SLUICE_LOG_ERROR) {
    return broken(SLUICE_E_ARG, "SLP-B01", fmt::format("log level {}", level));
  }
  if (auto s = check_bytes(message, "log message"); s != SLUICE_OK) return s;
  if (output_.log.size() >= kLogLinesPerStepMax) {
    ++log_lines_left_out_;
    return SLUICE_OK;
  }
  output_.log.push_back({.level = level, .message = presentable(view(message), kLogLineBytesMax)});
  return SLUICE_OK;
}

sluice_status Sink::total(std::int64_t records) {
  if (records < 0) return broken(SLUICE_E_ARG, "SLP-B01", fmt::format("total({})", records));
  output_.total = records;
  return SLUICE_OK;
}

}  // namespace sluice::connector
