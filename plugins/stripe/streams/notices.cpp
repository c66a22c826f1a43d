#include "streams/notices.hpp"

namespace stripe {
namespace {

namespace types = manifest::types;

/// One line of what events mean. Of all lines whose prefix fits an event's type those with the
/// longest prefix count, all of them.
struct Rule {
  std::string_view prefix;
  std::uint32_t type;
  /// Where the id stands in data.object: a path, "[]" goes through a list; empty: the object's own.
  std::string_view where = {};
  bool deletable = false;       ///< "….deleted" means that it is gone
  std::string_view verbs = {};  ///< only these last words, each between spaces; empty: all
};

// What moves the balance of a customer and the status of a subscription.
constexpr std::string_view kSettled = " paid payment_failed voided marked_uncollectible ";

constexpr Rule kRules[] = {
    {"customer.", types::customer, "", true},
    // "deleted" means ended here: it can still be read. Its items come with it.
    {"customer.subscription.", types::subscription},
    // A redemption is counted at coupon and promotion code, which have no event for it.
    {"customer.discount.", types::customer, "customer"},
    {"customer.discount.", types::subscription, "subscription"},
    {"customer.discount.", types::coupon, "source.coupon"},
    {"customer.discount.", types::coupon, "coupon"},  // before clover
    {"customer.discount.", types::promotion_code, "promotion_code"},
    {"subscription_schedule.", types::subscription, "subscription"},
    {"product.", types::product, "", true},
    {"price.", types::price, "", true},
    {"coupon.", types::coupon, "", true},
    {"promotion_code.", types::promotion_code},
    {"promotion_code.", types::coupon, "promotion.coupon"},
    {"promotion_code.", types::coupon, "coupon"},  // before clover
    {"invoice.", types::invoice, "", true},
    {"invoice.", types::customer, "customer", false, kSettled},
    {"invoice.", types::subscription, "parent.subscription_details.subscription", false, kSettled},
    {"invoice.", types::subscription, "subscription", false, kSettled},  // before basil
    {"invoice_payment.", types::invoice_payment},
    {"invoice_payment.", types::invoice, "invoice"},
    {"invoiceitem.", types::invoice, "invoice"},
    {"payment_intent.", types::payment_intent},
    {"charge.", types::charge},
    {"charge.", types::payment_intent, "payment_intent"},
    {"charge.", types::refund, "refunds.data[]", false, " refunded "},  // before 2022-11-15
    {"charge.refund.", types::refund},
    {"charge.refund.", types::charge, "charge"},
    {"charge.dispute.", types::dispute},
    {"charge.dispute.", types::charge, "charge"},
    {"refund.", types::refund},
    {"refund.", types::charge, "charge"},
    {"payout.", types::payout},
    {"payment_method.", types::payment_method},
    {"mandate.", types::payment_method, "payment_method"},
    {"setup_intent.", types::setup_intent},
    {"credit_note.", types::credit_note},
    {"credit_note.", types::invoice, "invoice"},
    {"credit_note.", types::customer, "customer"},
    {"checkout.session.", types::checkout_session},
    {"account.", types::account},
    {"account.external_account.", types::account, "account"},
    {"account.application.", types::account, "@account"},
    {"person.", types::account, "account"},
    {"capability.", types::account, "account"},
};

bool begins_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

std::string_view last_word(std::string_view event_type) {
  const std::size_t dot = event_type.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : event_type.substr(dot + 1);
}

bool has_word(std::string_view words, std::string_view word) {
  const std::size_t at = words.find(word);
  return at != std::string_view::npos && at > 0 && words[at - 1] == ' ' &&
         words[at + word.size()] == ' ';
}

std::size_t prefix_size(std::string_view event_type) {
  std::size_t size = 0;
  for (const Rule& rule : kRules) {
    if (rule.prefix.size() > size && begins_with(event_type, rule.prefix))
      size = rule.prefix.size();
  }
  return size;
}

void add(std::vector<Hint>& hints, std::uint32_t type, const json::Value& reference,
         std::int32_t kind) {
  const std::string_view id = sluice::sdk::reference_id(reference);
  // A preview is no invoice: it has no id, or one that cannot be read.
  if (id.empty() || begins_with(id, "upcoming_in")) return;
  Hint& hint = hints.emplace_back();
  hint.type = type;
  hint.id = id;
  hint.kind = kind;
}

void add_at(std::vector<Hint>& hints, const Rule& rule, json::Value at, std::string_view where,
            std::int32_t kind) {
  while (!where.empty()) {
    const std::size_t dot = where.find('.');
    const std::string_view step = where.substr(0, dot);
    where = dot == std::string_view::npos ? std::string_view{} : where.substr(dot + 1);
    if (step.size() > 2 && step.substr(step.size() - 2) == "[]") {
      for (const json::Value entry : at[step.substr(0, step.size() - 2)].items())
        add(hints, rule.type, entry, kind);
      return;
    }
    at = at[step];
  }
  add(hints, rule.type, at, kind);
}

}  // namespace

bool is_about_accounts(std::string_view event_type) {
  return begins_with(event_type, "account.") || begins_with(event_type, "person.") ||
         begins_with(event_type, "capability.");
}

void hints_of(const json::Value& event, std::vector<Hint>& hints) {
  hints.clear();
  const std::string_view type = event["type"].text();
  const json::Value object = event["data"]["object"];
  const std::string_view verb = last_word(type);
  const std::size_t size = prefix_size(type);
  if (size == 0 || (begins_with(type, "invoice.") && verb == "upcoming")) return;
  if (type.substr(0, size) == "customer." && type.find('.', size) != std::string_view::npos) {
    add(hints, types::customer, object["customer"], SLUICE_NOTICE_CHANGED);  // a tax id, a source …
    return;
  }
  for (const Rule& rule : kRules) {
    if (rule.prefix.size() != size || !begins_with(type, rule.prefix)) continue;
    if (!rule.verbs.empty() && !has_word(rule.verbs, verb)) continue;
    const bool gone = rule.deletable && verb == "deleted";
    const std::int32_t kind = gone ? SLUICE_NOTICE_DELETED : SLUICE_NOTICE_CHANGED;
    if (rule.where.empty()) {
      add(hints, rule.type, object["id"], kind);
    } else if (rule.where == "@account") {
      add(hints, rule.type, event["account"], kind);
    } else {
      add_at(hints, rule, object, rule.where, kind);
    }
  }
}

}  // namespace stripe
