#include "contract/exchange.hpp"
#include "contract/manifest.hpp"

#include <array>
#include <cstring>

#include "base/ascii.hpp"

namespace sluice::contract {
namespace {

constexpr std::array<std::string_view, 9> kAttributeTypes = {
    "text", "integer", "decimal", "number", "boolean", "timestamp", "date", "json", "bytes"};
constexpr std::array<std::string_view, 6> kKeyKinds = {"email",    "phone",       "domain",
                                                       "username", "external_id", "exact"};
constexpr std::array<std::string_view, 10> kKinds = {"null",    "boolean", "int64", "double",
                                                     "decimal", "string",  "bytes", "timestamp",
                                                     "date",    "json"};
constexpr std::array<std::string_view, 5> kMethods = {"GET", "POST", "PUT", "PATCH", "DELETE"};
constexpr std::array<std::string_view, 10> kFailureClasses = {
    "AUTH",     "PERMISSION", "RATE_LIMITED",        "UPSTREAM_TRANSIENT", "UPSTREAM_PERMANENT",
    "BAD_DATA", "CONFIG",     "CHECKPOINT_REJECTED", "CANCELLED",          "INTERNAL"};

constexpr std::array<std::string_view, 5> kResetUnits = {"seconds", "ms", "epoch_s", "epoch_ms",
                                                         "delta"};

}  // namespace

std::string_view to_string(AttributeType type) {
  return kAttributeTypes[static_cast<std::size_t>(type)];
}

std::optional<AttributeType> attribute_type(std::string_view name) {
  const auto* found = std::find(kAttributeTypes.begin(), kAttributeTypes.end(), name);
  if (found == kAttributeTypes.end()) return std::nullopt;
  return static_cast<AttributeType>(found - kAttributeTypes.begin());
}

std::string_view to_string(KeyKind kind) { return kKeyKinds[static_cast<std::size_t>(kind) - 1]; }

std::optional<KeyKind> key_kind(std::string_view name) {
  const auto* found = std::find(kKeyKinds.begin(), kKeyKinds.end(), name);
  if (found == kKeyKinds.end()) return std::nullopt;
  return static_cast<KeyKind>(found - kKeyKinds.begin() + 1);
}

std::optional<ResetUnit> reset_unit(std::string_view name) {
  const auto* found = std::find(kResetUnits.begin(), kResetUnits.end(), name);
  if (found == kResetUnits.end()) return std::nullopt;
  return static_cast<ResetUnit>(found - kResetUnits.begin());
}

std::string_view to_string(Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }
std::string_view to_string(Method method) { return kMethods[static_cast<std::size_t>(method) - 1]; }

std::string_view to_string(FailureClass failure_class) {
  return kFailureClasses[static_cast<std::size_t>(failure_class) - 1];
}

std::optional<std::string_view> find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (equal_without_case(key, name)) return value;
  }
  return std::nullopt;
}

Page::Page() : arena_(std::make_unique<std::pmr::monotonic_buffer_resource>(64 * 1024)) {}

std::string_view Page::keep(std::string_view text) {
  if (text.empty()) return {};
  char* memory = reserve_text(text.size());
  std::memcpy(memory, text.data(), text.size());
  return {memory, text.size()};
}

char* Page::reserve_text(std::size_t size) {
  bytes_ += size;
  return static_cast<char*>(arena_->allocate(size, 1));
}

std::optional<std::uint32_t> EntityType::attribute_index(std::string_view wanted) const {
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    if (attributes[i].name == wanted) return static_cast<std::uint32_t>(i);
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Manifest::type_index(std::string_view wanted) const {
  for (std::size_t i = 0; i < entity_types.size(); ++i) {
    if (entity_types[i].name == wanted) return static_cast<std::uint32_t>(i);
  }
  return std::nullopt;
}

const Stream* Manifest::find_stream(std::string_view wanted) const {
  for (const Stream& stream : streams) {
    if (stream.name == wanted) return &stream;
  }
  return nullptr;
}

bool Manifest::supports(std::string_view operation) const {
  return std::find(operations.begin(), operations.end(), operation) != operations.end();
}

}  // namespace sluice::contract
