// What travels from a connector's step to the store.
#pragma once

#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::contract {

/// The same numbers as SLUICE_NULL … SLUICE_JSON of the C contract.
enum class Kind : std::int32_t {
  null = 0,
  boolean = 1,
  int64 = 2,
  real = 3,
  decimal = 4,
  string = 5,
  raw = 6,
  timestamp = 7,
  date = 8,
  json = 9,
};
[[nodiscard]] std::string_view to_string(Kind kind);

/// One attribute. Text lies in the page's arena.
struct Value {
  std::uint32_t attribute = 0;
  Kind kind = Kind::null;
  union {
    std::int64_t number = 0;  ///< boolean 0/1, int64, timestamp µs, date days
    double real;
  };
  std::string_view text{};  ///< decimal, string, raw, json
};

struct NamedValue {
  std::string_view name;
  Value value;
};

struct Record {
  std::uint32_t type = 0;  ///< index into Manifest::entity_types
  std::string_view external_id;
  std::int64_t source_version = 0;  ///< 0: none
  bool deleted = false;
  bool whole =
      false;  ///< `named` and `source_url` are all there is: what is stored beyond them goes
  std::string_view source_url;
  std::span<const Value> values;  ///< absent attributes are left as they are
  std::span<const NamedValue> named;
};

enum class NoticeKind { changed = 1, deleted = 2, merged = 3 };

struct Notice {
  std::uint32_t type = 0;
  std::string_view external_id;
  NoticeKind kind = NoticeKind::changed;
  std::int64_t observed_at = 0;  ///< µs since the epoch; 0: unknown
  std::string_view merged_into;
};

/// All entities of `type` whose `attribute` equals `equals` have one of these ids; the rest are
/// gone.
struct CompleteSet {
  std::uint32_t type = 0;
  std::uint32_t attribute = 0;
  std::string_view equals;
  std::span<const std::string_view> ids;
};

/// A record (or notice) that breaks a rule of its own: a value of the wrong kind, text that is no
/// UTF-8, an external id that is too long. It is not among the page's records; its reader
/// quarantines it.
struct RejectedRecord {
  std::uint32_t type = 0;
  std::string
      external_id;     ///< shortened, and escaped where it was no UTF-8; empty when there was none
  std::string code;    ///< stable, for programs: "record.wrong_kind"
  std::string reason;  ///< for a person; no personal or protected value
};

/// The records, notices and sets of one step, with the memory that holds them: everything that a
/// view in them points to lies in this page's arena. Movable; views survive the move. One owner at
/// a time.
class Page {
 public:
  Page();
  Page(Page&&) noexcept = default;
  Page& operator=(Page&&) noexcept = default;

  /// Copies into the arena. The caller has checked the limits.
  [[nodiscard]] std::string_view keep(std::string_view text);
  /// `size` uninitialised bytes of the arena for text that the caller copies itself, several at
  /// once.
  [[nodiscard]] char* reserve_text(std::size_t size);
  template <class T>
  [[nodiscard]] std::span<T> allocate(std::size_t count) {
    if (count == 0) return {};
    T* memory = static_cast<T*>(arena_->allocate(count * sizeof(T), alignof(T)));
    return {memory, count};
  }

  std::vector<Record> records;
  std::vector<Notice> notices;
  std::vector<CompleteSet> sets;
  std::vector<RejectedRecord> rejected;

  [[nodiscard]] bool empty() const {
    return records.empty() && notices.empty() && sets.empty() && rejected.empty();
  }
  /// Bytes copied so far, for limits and metrics.
  [[nodiscard]] std::size_t byte_size() const { return bytes_; }

 private:
  std::unique_ptr<std::pmr::monotonic_buffer_resource> arena_;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::contract
