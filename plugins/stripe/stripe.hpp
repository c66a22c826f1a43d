// The Stripe connector's one class: what each file here is about.
//   connector.cpp      configuration, dispatch, the exported entry
//   errors.cpp         Stripe's error answers as failures that say what to do
//   objects.cpp        Stripe objects as records: the mapping tables
//   streams/check.cpp  CHECK       streams/snapshot.cpp  READ of everything
//   streams/events.cpp READ of what changed            streams/fetch.cpp  FETCH, and children of
//   parents
#pragma once

#include <sluice/sdk.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "stripe_manifest.hpp"

namespace stripe {

namespace json = sluice::sdk::json;
using sluice::sdk::Arena;
using sluice::sdk::Failure;
using sluice::sdk::Record;
using sluice::sdk::Reply;
using sluice::sdk::Target;
using sluice::sdk::Task;

/// Every request carries it: responses keep one shape whatever the account's own default version
/// is.
inline constexpr std::string_view kApiVersion = "2026-10-28.endive";
inline constexpr std::uint32_t kPageMax = 100;  ///< Stripe's own limit
inline constexpr std::uint32_t kCheckpointFormat = 1;
inline constexpr std::int64_t kPagesMax =
    1'000'000;  ///< of one run; more is a list that does not end
inline constexpr std::int64_t kChildPagesMax = 1'000;  ///< of one parent's children

/// One list at Stripe that a stream of ours reads.
struct List {
  std::string_view stream;
  std::string_view path;
  std::uint32_t type;
  bool canceled_too = false;  ///< subscriptions leave canceled ones out unless asked
};

inline constexpr List kLists[] = {
    {"customers", "/v1/customers", manifest::types::customer},
    {"products", "/v1/products", manifest::types::product},
    {"prices", "/v1/prices", manifest::types::price},
    {"subscriptions", "/v1/subscriptions", manifest::types::subscription, true},
    {"invoices", "/v1/invoices", manifest::types::invoice},
    {"invoice_payments", "/v1/invoice_payments", manifest::types::invoice_payment},
};

/// Where one object of a type is read; empty for invoice lines, which have no address of their own.
std::string_view path_of(std::uint32_t type);

// ---- errors.cpp ----
/// The failure that a reply other than 200 means. `what` is what was asked, as in "reading
/// /v1/invoices".
Failure explain(Reply& reply, std::string_view what, std::int64_t now_ms);
/// 404 with code resource_missing: the object is gone, rather than the address wrong.
bool is_gone(Reply& reply);
/// A 400 because the object that `starting_after` names was deleted or aged out.
bool is_bad_cursor(Reply& reply);
bool is_aged_out(Reply& reply);
/// The permission that a 403 asks for ("rak_invoice_read"); empty when it names none.
std::string_view missing_permission(std::string_view message);
/// The reply's JSON; throws BAD_DATA with `what` when it is none.
json::Value json_of(Reply& reply, std::string_view what);
/// Masks everything that looks like a key: keys never reach a log.
std::string without_keys(std::string_view text);

// ---- objects.cpp ----
/// Fills the record with `object`; `dashboard` is where the account is shown
/// ("https://dashboard.stripe.com/test").
void fill(Record& record, std::uint32_t type, const json::Value& object,
          std::string_view dashboard);

/// Finds a list that does not end: a cursor that comes back, after however many pages, in constant
/// memory (Brent's method), and a ceiling on pages.
class LoopGuard {
 public:
  LoopGuard(std::string_view what, std::int64_t pages_max) : what_(what), pages_max_(pages_max) {}
  /// Throws Failure(BAD_DATA) when this list cannot be trusted to end.
  void next_cursor(std::string_view cursor);

 private:
  std::string what_;
  std::string anchor_;
  std::int64_t pages_max_;
  std::int64_t pages_ = 0;
  std::int64_t anchor_until_ = 1;
};

class Stripe final : public sluice::sdk::Connector {
 private:
  void configure(const json::Value& config) override;
  Task<> check() override;
  Task<> read(std::string_view stream, std::string_view checkpoint,
              std::uint32_t checkpoint_format) override;
  Task<> fetch(std::uint32_t type, std::vector<std::string_view> ids) override;

  /// Children that come inside a parent, ten at most, and have a list of their own.
  struct ChildKind {
    std::uint32_t type;
    std::uint32_t parent_attribute;
    std::string_view what;
  };
  static const ChildKind kItems;
  static const ChildKind kLines;
  static const ChildKind kPayments;

  Task<> read_snapshot(const List& list, std::string_view checkpoint);
  Task<> read_events(std::string_view checkpoint);
  Task<> read_event_windows(struct EventPlace& place);
  Task<> notice_events(const json::Value& page, struct EventPlace& place, std::int64_t seen_from);
  Task<> log_events(std::int64_t read);

  Task<> fetch_one(std::uint32_t type, std::string_view id, Reply reply);
  Task<> emit_gone(std::uint32_t type, std::string_view id);
  /// The object with its children and their complete sets.
  Task<> emit_object(std::uint32_t type, json::Value object);
  Task<> emit_children(const ChildKind& kind, std::string_view parent, json::Value embedded);
  /// One pass over the children's own list; false when it has to be begun again.
  Task<bool> emit_child_pages(const ChildKind& kind, std::string_view parent);
  std::string child_target(const ChildKind& kind, std::string_view parent,
                           std::string_view after) const;
  void begin_child(const ChildKind& kind, std::string_view parent, const json::Value& child);

  /// The page's list of objects; throws BAD_DATA when the reply is no list.
  static json::Value list_data(Reply& reply, std::string_view what);
  /// Learns from an object whether the key is a test key; the address in the dashboard follows.
  void learn_mode(const json::Value& object);
  std::int64_t server_seconds(const Reply& reply) const {
    return reply.server_time().value_or(now_ms() / 1000);
  }

  std::string account_;
  std::int64_t event_lag_ = 60;
  std::int64_t event_overlap_ = 600;
  std::optional<bool> livemode_;
  std::string dashboard_ = "https://dashboard.stripe.com";

  // Of the parent whose children are being emitted; reused.
  Arena child_memory_;
  std::vector<std::string_view> child_ids_;
  std::optional<std::int64_t> period_start_;
  std::optional<std::int64_t> period_end_;

  // Of a run over events.
  std::unordered_set<std::uint64_t> noticed_;
  std::map<std::string, std::int64_t, std::less<>> not_synced_;
};

}  // namespace stripe
