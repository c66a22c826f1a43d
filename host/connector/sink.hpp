// The host's side of a step: takes what a connector puts out, checks it against the contract,
// stages it.
#pragma once

#include <sluice/connector.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"

namespace sluice::connector {

/// After SLUICE_STOP a connector may still finish the vendor's object it is in: so much is taken
/// beyond the limits of SessionArgs, each answered with SLUICE_STOP; then SLUICE_E_LIMIT.
inline constexpr std::uint64_t kRecordsAfterStopMax = 1000;
inline constexpr std::uint64_t kBytesAfterStopMax = 16ull << 20;

inline constexpr std::uint64_t kExternalIdBytesMax = 1024;
inline constexpr std::uint64_t kRecordBytesMax = 16ull << 20;
inline constexpr std::uint32_t kNamedValuesMax = 1000;
inline constexpr std::uint64_t kSourceUrlBytesMax = 2048;
inline constexpr std::uint32_t kSetIdsMax = 100'000;
inline constexpr std::uint32_t kRequestHeadersMax = 64;
inline constexpr std::uint64_t kRequestHeaderBytesMax = 32 * 1024;
inline constexpr std::uint64_t kRequestTargetBytesMax = 16 * 1024;
inline constexpr std::uint64_t kRequestBodyBytesMax = 8ull << 20;
inline constexpr std::uint64_t kResultBytesMax = 4ull << 20;
inline constexpr std::uint64_t kFailureMessageBytesMax = 1024;
inline constexpr std::uint64_t kVendorCodeBytesMax = 128;
inline constexpr std::size_t kLogLinesPerStepMax = 100;
inline constexpr std::uint64_t kLogLineBytesMax = 1024;

/// One per session; its address is the sink's ctx, so it neither moves nor ends before the
/// connector's close(). Two kinds of trouble:
///  - The connector breaks a rule of the contract: the call returns a negative status, the first
///    broken rule is kept, and finish() answers with it whatever step() returned.
///  - A record or notice breaks a rule of its own, as a vendor's data may: it becomes a
///    RejectedRecord of the page, and the step goes on.
///
/// Rules it enforces (beside those the headers name):
///   SLP-B03  sizes of structures          SLP-R02  shape of a request
///   SLP-C01  checkpoints                  SLP-S06  only inside step()
///   SLP-D01  a record's structure         SLP-S07  a refusal ends the step
///   SLP-D02  entity types of the stream   SLP-S08  result and traffic agree
///   SLP-D03  complete sets                SLP-S09  an operation's own traffic
///   SLP-F01  failures                     SLP-X01  the result's JSON
///   SLP-L05  limits of a step
///   SLP-R01  what the host adds itself
class Sink {
 public:
  /// `manifest` outlives it. `stream` is set for READ.
  Sink(const contract::Manifest& manifest, const contract::SessionArgs& args,
       const contract::Stream* stream);
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  [[nodiscard]] const sluice_sink* table() const { return &table_; }

  /// Opens it for one step on the calling thread.
  void begin();
  /// Closes it and judges the step: `status` is what step() returned, `wake_at_ms` what it wrote.
  Result<contract::StepOutput> finish(sluice_status status, std::int64_t wake_at_ms,
                                      bool cancelling);
  /// Notes a broken rule that the caller saw, e.g. an exception out of step(); the first one
  /// counts.
  void blame(std::string_view rule, std::string what);

  /// Requests that the connector made and whose answer has not been given to it.
  [[nodiscard]] bool is_outstanding(std::uint64_t request_id) const;
  void answered(std::uint64_t request_id);

 private:
  struct Calls;  // the C functions of table_

  /// What a value of each attribute of a type may be: a bit per kind.
  using KindMasks = std::vector<std::uint16_t>;

  sluice_status enter();
  sluice_status broken(sluice_status status, std::string_view rule, std::string what);
  template <class T>
  sluice_status check_struct(const T*& value, T& grown, std::string_view name);
  sluice_status check_bytes(const sluice_bytes& bytes, std::string_view name);
  sluice_status check_type(std::uint32_t type, std::string_view name);
  sluice_status needs_operation(bool allowed, std::string_view call);
  sluice_status room();  // before an item is taken
  sluice_status taken(std::uint64_t bytes);
  void reject(std::uint32_t type, const sluice_bytes& id, std::string code, std::string reason);
  bool reject_bad_id(std::uint32_t type, const sluice_bytes& id);

  struct Sizes;
  struct Flaw;
  sluice_status scan_values(const sluice_record& from, Sizes& sizes, Flaw& flaw);
  bool copy_record(const sluice_record& from, const Sizes& sizes, Flaw& flaw);
  bool copy_named(const sluice_record& from, contract::Record& to, Flaw& flaw);
  void find_bad_text(const sluice_record& from, Flaw& flaw) const;
  [[nodiscard]] std::string attribute_name(std::uint32_t type, std::uint32_t attribute) const;

  sluice_status record(const sluice_record* record);
  sluice_status notice(const sluice_notice* notice);
  sluice_status complete_set(const sluice_complete_set* set);
  sluice_status request(const sluice_request* request);
  sluice_status request_headers(const sluice_request& from, contract::Request& to);
  sluice_status checkpoint(sluice_bytes checkpoint);
  sluice_status result(sluice_bytes json);
  sluice_status fail_with(const sluice_failure* failure);
  sluice_status log_line(std::int32_t level, sluice_bytes message);
  sluice_status total(std::int64_t records);

  void check_agreement(sluice_status status, std::int64_t wake_at_ms, bool cancelling);

  const contract::Manifest& manifest_;
  contract::Operation operation_;
  std::uint64_t records_max_;
  std::uint64_t bytes_max_;
  std::vector<KindMasks> kinds_;    // by type
  std::vector<bool> stream_types_;  // by type; all true when there is no stream
  sluice_sink table_{};

  std::atomic<std::uintptr_t> thread_{0};  // inside step(): its thread; 0: closed
  std::atomic<bool> called_outside_{false};

  contract::StepOutput output_;
  std::uint64_t items_ = 0;
  std::uint64_t value_bytes_ = 0;
  std::size_t log_lines_left_out_ = 0;
  struct Violation {
    std::string rule;
    std::string what;
  };
  std::optional<Violation> violation_;

  std::vector<std::uint64_t> outstanding_;
  bool has_result_ = false;  // in any step so far
};

}  // namespace sluice::connector
