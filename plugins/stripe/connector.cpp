#include "stripe.hpp"

namespace stripe {
namespace {

std::int64_t seconds_setting(const json::Value& config, std::string_view name,
                             std::int64_t otherwise, std::int64_t most) {
  const json::Value value = config[name];
  if (!value.has_value()) return otherwise;
  const auto seconds = value.integer();
  if (!seconds || *seconds < 0 || *seconds > most) {
    throw Failure(SLUICE_FAIL_CONFIG, "configuration: " + std::string(name) +
                                          " must be whole seconds from 0 to " +
                                          std::to_string(most) + ", not " +
                                          std::string(sluice::sdk::cut_utf8(value.raw(), 60)));
  }
  return *seconds;
}

}  // namespace

void Stripe::configure(const json::Value& config) {
  constexpr std::int64_t kLagMax = 3600;
  constexpr std::int64_t kOverlapMax = 86400;
  event_lag_ = seconds_setting(config, "event_lag_seconds", event_lag_, kLagMax);
  event_overlap_ = seconds_setting(config, "event_overlap_seconds", event_overlap_, kOverlapMax);
  const json::Value account = config["account"];
  if (account.has_value()) {
    account_ = account.text();
    if (!account.is_string() || (!account_.empty() && account_.rfind("acct_", 0) != 0)) {
      throw Failure(SLUICE_FAIL_CONFIG,
                    "configuration: account must be the id of a connected account (acct_…), not " +
                        without_keys(sluice::sdk::cut_utf8(account.raw(), 60)));
    }
  }
  set_header("Stripe-Version", std::string(kApiVersion));
  if (!account_.empty()) {
    set_header("Stripe-Account", account_);
    dashboard_ += "/" + account_;
  }
}

Task<> Stripe::read(std::string_view stream, std::string_view checkpoint,
                    std::uint32_t checkpoint_format) {
  if (!checkpoint.empty() && checkpoint_format != kCheckpointFormat) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the checkpoint has format " + std::to_string(checkpoint_format) +
                      "; this version of the connector reads format 1 only: read the stream again "
                      "from its start");
  }
  if (stream == "events") return read_events(checkpoint);
  for (const List& list : kLists) {
    if (list.stream == stream) return read_snapshot(list, checkpoint);
  }
  throw Failure(SLUICE_FAIL_CONFIG, "Stripe has no stream \"" + std::string(stream) +
                                        "\"; the manifest names the streams there are");
}

json::Value Stripe::list_data(Reply& reply, std::string_view what) {
  const json::Value page = json_of(reply, what);
  if (!page["data"].is_array() || !page["has_more"].boolean()) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) + ": Stripe answered 200 with something that is no list");
  }
  return page["data"];
}

void Stripe::learn_mode(const json::Value& object) {
  if (livemode_) return;
  livemode_ = object["livemode"].boolean();
  if (livemode_ == false) dashboard_ += "/test";
}

void LoopGuard::next_cursor(std::string_view cursor) {
  ++pages_;
  if (pages_ > pages_max_) {
    throw Failure(SLUICE_FAIL_BAD_DATA, what_ + ": the list has not ended after " +
                                            std::to_string(pages_max_) +
                                            " pages; reading was stopped");
  }
  if (cursor == anchor_) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  what_ + ": Stripe's list goes round in circles (the page behind " +
                      std::string(cursor) + " came again); reading was stopped");
  }
  if (pages_ == anchor_until_) {
    anchor_ = cursor;
    anchor_until_ *= 2;
  }
}

}  // namespace stripe

SLUICE_CONNECTOR(stripe::Stripe)
