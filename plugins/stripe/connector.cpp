#include "stripe.hpp"

namespace stripe {
namespace {

namespace types = manifest::types;

constexpr std::int64_t kDay = 86400;

constexpr List kLists[] = {
    {"customers", types::customer, "rak_customer_read", false, true, true},
    {"products", types::product, "rak_product_read"},
    {"prices", types::price, "rak_plan_read"},  // prices go by the name of plans there
    {"subscriptions", types::subscription, "rak_subscription_read", true, true, true},
    {"invoices", types::invoice, "rak_invoice_read"},
    {"invoice_payments", types::invoice_payment, "rak_invoice_read"},
    {"payment_intents", types::payment_intent, "rak_payment_intent_read"},
    {"charges", types::charge, "rak_charge_read"},
    {"refunds", types::refund, "rak_charge_read"},
    {"disputes", types::dispute, "rak_dispute_read"},
    {"payouts", types::payout, "rak_payout_read"},
    {"balance_transactions", types::balance_transaction, "rak_balance_transaction_source_read"},
    {"payment_methods", types::payment_method, "rak_payment_method_read", false, false},
    {"coupons", types::coupon, "rak_coupon_read"},
    {"promotion_codes", types::promotion_code, "rak_promotion_code_read"},
    {"credit_notes", types::credit_note, "rak_credit_note_read"},
    {"checkout_sessions", types::checkout_session, "rak_checkout_session_read"},
    {"setup_intents", types::setup_intent, "rak_setup_intent_read"},
    {"accounts", types::account, "rak_connected_account_read"},
};

constexpr Poll kPolls[] = {
    // Reserves and disputes hold money back for half a year. What is pending for longer is read
    // again with the whole list.
    {"balance_transactions_poll", "balance_transactions", "pending", "available_on", 200 * kDay},
    {"checkout_sessions_poll", "checkout_sessions", "open", "expires_at", 7 * kDay},
    {"payment_methods_poll", "payment_methods", {}, {}, 7 * kDay},
};

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

std::string account_setting(const json::Value& config, std::string_view name) {
  const json::Value value = config[name];
  if (!value.has_value()) return {};
  const std::string_view text = value.text();
  bool plain = value.is_string();
  for (const char c : text) plain = plain && c > ' ' && c < 0x7F;
  if (!plain || (!text.empty() && text.rfind("acct_", 0) != 0)) {
    throw Failure(SLUICE_FAIL_CONFIG, "configuration: " + std::string(name) +
                                          " must be the id of an account (acct_…), not " +
                                          without_keys(sluice::sdk::cut_utf8(value.raw(), 60)));
  }
  return std::string(text);
}

}  // namespace

std::span<const List> lists() { return kLists; }
std::span<const Poll> polls() { return kPolls; }

std::string_view permission_for(std::string_view stream) {
  if (stream == "events") return "rak_event_read";
  if (stream == "accounts_poll") stream = "accounts";
  for (const Poll& poll : kPolls) {
    if (poll.stream == stream) stream = poll.list;
  }
  for (const List& list : kLists) {
    if (list.stream == stream) return list.permission;
  }
  return {};
}

void Stripe::configure(const json::Value& config) {
  constexpr std::int64_t kLagMax = 3600;
  constexpr std::int64_t kOverlapMax = 86400;
  event_lag_ = seconds_setting(config, "event_lag_seconds", event_lag_, kLagMax);
  event_overlap_ = seconds_setting(config, "event_overlap_seconds", event_overlap_, kOverlapMax);
  const std::string account = account_setting(config, "account");
  const std::string context = account_setting(config, "context");
  if (!account.empty() && !context.empty()) {
    throw Failure(SLUICE_FAIL_CONFIG,
                  "configuration: account is for a platform's key and context for an "
                  "organisation's; only one of them can be set");
  }
  set_header("Stripe-Version", std::string(kApiVersion));
  if (!account.empty()) set_header("Stripe-Account", account);
  if (!context.empty()) set_header("Stripe-Context", context);
  account_ = account.empty() ? context.substr(context.rfind('/') + 1) : account;
  if (!account_.empty()) dashboard_ += "/" + account_;
}

Task<> Stripe::read(std::string_view stream, std::string_view checkpoint,
                    std::uint32_t checkpoint_format) {
  if (!checkpoint.empty() && (checkpoint_format == 0 || checkpoint_format > kCheckpointFormat)) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  "the checkpoint has format " + std::to_string(checkpoint_format) +
                      "; this version of the connector reads formats 1 and 2: read the stream "
                      "again from its start");
  }
  if (stream == "events") return read_events(checkpoint);
  for (const List& list : kLists) {
    const bool is_poll = stream == "accounts_poll";
    if (list.type == types::account && (is_poll || stream == list.stream))
      return read_accounts(list, checkpoint, is_poll);
    if (list.stream == stream) return read_snapshot(list, checkpoint);
    for (const Poll& poll : kPolls) {
      if (poll.stream == stream && poll.list == list.stream)
        return read_poll(poll, list, checkpoint);
    }
  }
  throw Failure(SLUICE_FAIL_CONFIG, "Stripe has no stream \"" + std::string(stream) +
                                        "\"; the manifest names the streams there are");
}

Target Stripe::list_target(const List& list) const {
  const Kind& kind = kind_of(list.type);
  Target target{std::string(kind.path)};
  if (list.canceled_too) target.add("status", "all");
  for (const std::string_view property : kind.asked_for)
    target.add("expand[]", "data." + std::string(property));
  return target;
}

void Stripe::look_at(const Reply& reply, std::string_view what) {
  const auto version = reply.header("Stripe-Version");
  our_version_ = version && *version == kApiVersion;
  const auto account = reply.header("Stripe-Account");
  if (account && !account_.empty() && *account != account_) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) + ": " + account_ + " was asked for and Stripe answered for " +
                      std::string(sluice::sdk::cut_utf8(*account, 80)) + "; nothing of it is kept");
  }
}

Face Stripe::expect_object(const Kind& kind, const json::Value& object, std::string_view what) {
  constexpr std::int64_t kEnough = 2;  // one against one would not tell which of them is astray
  Face face = look_at_object(kind, object, what);
  if (face.id.empty()) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) + ": Stripe sent " + std::string(to_string(object.kind())) +
                      " without an id where one of kind " + std::string(kind.object) + " belongs");
  }
  face.stray = alone_ >= kEnough && face.livemode && livemode_ && *face.livemode != *livemode_;
  if (!face.stray) {
    learn_mode(face.livemode, what, face.id);
    if (face.livemode) ++alone_;
  }
  return face;
}

Face Stripe::look_at_object(const Kind& kind, const json::Value& object, std::string_view what) {
  const Face face = face_of(object);
  if (!face.object.empty() && face.object != kind.object) {
    throw Failure(SLUICE_FAIL_BAD_DATA, std::string(what) + ": Stripe sent an object of kind " +
                                            std::string(sluice::sdk::cut_utf8(face.object, 60)) +
                                            " (" + std::string(sluice::sdk::cut_utf8(face.id, 80)) +
                                            ") where one of kind " + std::string(kind.object) +
                                            " belongs; reading was stopped");
  }
  return face;
}

void Stripe::look_over(const Kind& kind, const ListPage& page, std::string_view what) {
  faces_.clear();
  for (const json::Value object : page.data.items())
    faces_.push_back(look_at_object(kind, object, what));
  learn_modes(what);
}

void Stripe::learn_modes(std::string_view what) {
  std::size_t live = 0;
  std::size_t test = 0;
  for (const Face& face : faces_) {
    if (face.livemode) ++(*face.livemode ? live : test);
  }
  // Whose mode this is says what was read before, or else most of the page. When most of it is of
  // another mode than before, the key is, and it is refused.
  std::optional<bool> mode = livemode_;
  if (!mode && live != test) mode = live > test;
  const std::size_t own = mode == true ? live : test;
  const std::size_t astray = mode == true ? test : live;
  const bool few = mode && astray != 0 && astray <= own;
  for (Face& face : faces_) {
    face.stray = few && face.livemode && *face.livemode != *mode;
    if (!face.stray) learn_mode(face.livemode, what, face.id);
  }
}

std::string Stripe::of_other_mode(std::string_view where, std::string_view ids) const {
  const std::string other = livemode_ == true ? "test" : "live";
  const std::string own = livemode_ == true ? "live" : "test";
  return std::string(where) + ": Stripe sent what is of " + other + " mode among what is of " +
         own + " mode: " + std::string(ids) +
         ". It is left out, the rest is read. To have it, make another connection with a key of " +
         other + " mode; when it comes again, ask Stripe's support why a key of " + own +
         " mode is shown it";
}

Task<> Stripe::tell_strays(std::string_view stream) {
  constexpr std::size_t kNamed = 5;
  std::string ids;
  std::size_t count = 0;
  for (const Face& face : faces_) {
    if (!face.stray || ++count > kNamed) continue;
    if (!ids.empty()) ids += ", ";
    ids += face.id.empty() ? std::string_view("(no id)") : sluice::sdk::cut_utf8(face.id, 80);
  }
  if (count == 0) co_return;
  if (count > kNamed) ids += " and " + std::to_string(count - kNamed) + " more";
  const std::string line = of_other_mode("the stream " + std::string(stream), ids);
  co_await log(SLUICE_LOG_WARNING, line);
}

Task<> Stripe::put_aside(const Kind& kind, const Face& face) {
  fill_aside(record(), kind, face);
  co_await emit(record());
}

void Stripe::learn_mode(std::optional<bool> livemode, std::string_view what, std::string_view id) {
  if (!livemode) return;
  if (!livemode_) {
    livemode_ = livemode;
    if (!*livemode) dashboard_ += "/test";
  }
  if (*livemode_ == *livemode) {
    mode_shown_ = true;
    return;
  }
  const std::string now = *livemode ? "live" : "test";
  const std::string then = *livemode_ ? "live" : "test";
  const std::string named = std::string(sluice::sdk::cut_utf8(id, 80));
  if (mode_shown_) {
    throw Failure(SLUICE_FAIL_BAD_DATA, std::string(what) + ": " + named + " is of " + now +
                                            " mode among objects of " + then +
                                            " mode; reading was stopped");
  }
  throw Failure(SLUICE_FAIL_AUTH,
                std::string(what) + ": the key is of " + now +
                    " mode, but what was read before is of " + then + " mode: enter a key of " +
                    then + " mode, or make another connection for the " + now + " mode (" + named +
                    ")",
                "other_mode");
}

void Stripe::take_mode(const json::Value& checkpoint) {
  livemode_ = checkpoint["live"].boolean();
  if (livemode_ == false) dashboard_ += "/test";
}

void Stripe::put_mode(json::Writer& checkpoint) const {
  if (livemode_) checkpoint.member("live", *livemode_);
}

}  // namespace stripe

SLUICE_CONNECTOR(stripe::Stripe)
