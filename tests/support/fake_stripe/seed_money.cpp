#include "seed_money.hpp"

#include <algorithm>
#include <array>

#include "bodies_money.hpp"

namespace fake_stripe {
namespace {

constexpr std::int64_t kDayS = 24 * 3600;
constexpr std::int64_t kWeekS = 7 * kDayS;
constexpr std::int64_t kFundsWaitS = 4 * kDayS;

}  // namespace

Object& MoneySeeder::append(std::string_view type, Object object, std::vector<Link> links) {
  object.number = world_.next_number();
  std::erase_if(links, [](const Link& link) { return link.second.empty(); });
  return world_.of(type).append(std::move(object), links);
}

void MoneySeeder::add_offers(std::uint64_t coupons) {
  constexpr std::array<std::string_view, 3> kDurations = {"once", "forever", "repeating"};
  for (std::uint64_t k = 0; k < coupons; ++k) {
    Dice d(world_.settings().seed, "coupon", k);
    CouponSpec spec{.id = d.token("", 8), .created = now_ - d.between(100, 400) * kDayS};
    if (k == 0) spec.id = "SAVE10";  // every account has it: ids of coupons are the merchant's
    if (k == 1) spec.id = "save10";
    if (k == 2) spec.id = "Summer 20% off &ü";
    if (k % 2 == 0) spec.percent_off = k % 4 == 0 ? "10" : "12.5";
    spec.amount_off = d.between(1, 20) * 100;
    spec.duration = kDurations[k % kDurations.size()];
    spec.times_redeemed = d.between(0, 9);
    append("coupon", {.id = spec.id, .body = coupon_body(spec), .created = spec.created}, {});
    for (std::uint64_t code = 0; code < k % 3; ++code) {
      PromotionSpec promotion{.id = d.token("promo_1", 23),
                              .created = spec.created + d.between(60, 9 * kDayS),
                              .code = d.token("CODE", 6),
                              .coupon = spec.id};
      append("promotion_code",
             {.id = promotion.id,
              .body = promotion_code_body(promotion),
              .created = promotion.created},
             {{"coupon", spec.id}});
    }
  }
}

std::string MoneySeeder::add_methods(std::uint64_t number, const Payer& payer,
                                     std::int64_t created) {
  Dice d(world_.settings().seed, "payment method", number);
  std::string first;
  const std::uint64_t count = d.chance(15) ? 2 : 1;
  for (std::uint64_t k = 0; k < count; ++k) {
    const MethodSpec spec{.id = d.token("pm_1", 23),
                          .created = std::min(now_ - 1, created + static_cast<std::int64_t>(k)),
                          .type = k == 1 ? "sepa_debit" : "card",
                          .customer = payer.customer,
                          .email = payer.email,
                          .name = payer.name,
                          .last4 = std::to_string(d.between(1000, 9999))};
    append("payment_method",
           {.id = spec.id, .body = payment_method_body(spec), .created = spec.created},
           {{"customer", spec.customer}});
    if (first.empty()) first = spec.id;
  }
  if (!d.chance(30)) return first;
  const bool done = !d.chance(20);
  const SetupSpec setup{.id = d.token("seti_1", 23),
                        .created = std::min(now_ - 1, created),
                        .status = done ? "succeeded" : "requires_action",
                        .customer = payer.customer,
                        .payment_method = done ? first : ""};
  append("setup_intent",
         {.id = setup.id, .body = setup_intent_body(setup), .created = setup.created},
         {{"customer", setup.customer}, {"payment_method", setup.payment_method}});
  return first;
}

std::string MoneySeeder::add_transaction(const std::string& type, const std::string& source,
                                         const std::string& currency, std::int64_t amount,
                                         std::int64_t created) {
  Dice d(world_.settings().seed, "balance transaction", transactions_++);
  TransactionSpec spec{.id = d.token("txn_3", 23),
                       .created = created,
                       .available_on = (created + kFundsWaitS) / kDayS * kDayS,
                       .amount = amount,
                       .currency = currency,
                       .type = type,
                       .source = source};
  if (type == "charge") spec.fee = amount * 29 / 1000 + 30;
  spec.available = spec.available_on <= now_;
  Object& made = append("balance_transaction",
                        {.id = spec.id, .body = transaction_body(spec), .created = created},
                        {{"source", source}});
  if (!spec.available) world_.await_funds(made, spec.available_on);
  if (type != "payout") {
    Week& week = weeks_[{currency, spec.available_on / kWeekS}];
    week.net += spec.amount - spec.fee;
    week.transactions.push_back(&made);
  }
  return spec.id;
}

Sold MoneySeeder::sell(const Payer& payer, const Sale& sale, Dice& d) {
  const bool tried = sale.succeeds || d.chance(50);
  const std::string intent = sale.with_intent ? d.token("pi_3", 23) : "";
  const std::string charge = tried || !sale.with_intent ? d.token("ch_3", 23) : "";
  std::int64_t refunded = 0;
  if (sale.succeeds && d.chance(8)) refunded = d.chance(50) ? sale.amount : sale.amount / 3;
  const bool disputed = sale.succeeds && refunded == 0 && d.chance(2);
  if (!charge.empty()) {
    const ChargeSpec spec{
        .id = charge,
        .created = sale.created,
        .amount = sale.amount,
        .amount_refunded = refunded,
        .currency = sale.currency,
        .status = sale.succeeds ? "succeeded" : "failed",
        .customer = payer.customer,
        .payment_intent = intent,
        .payment_method = payer.method,
        .balance_transaction = sale.succeeds ? add_transaction("charge", charge, sale.currency,
                                                               sale.amount, sale.created)
                                             : "",
        .email = payer.email,
        .name = payer.name,
        .disputed = disputed};
    append("charge", {.id = charge, .body = charge_body(spec), .created = sale.created},
           {{"customer", payer.customer}, {"payment_intent", intent}});
  }
  if (sale.with_intent) {
    const IntentSpec spec{.id = intent,
                          .created = sale.created,
                          .amount = sale.amount,
                          .currency = sale.currency,
                          .status = sale.succeeds ? "succeeded" : "requires_payment_method",
                          .customer = payer.customer,
                          .payment_method = payer.method,
                          .latest_charge = charge,
                          .email = payer.email};
    append("payment_intent",
           {.id = intent, .body = payment_intent_body(spec), .created = sale.created},
           {{"customer", payer.customer}});
  }
  if (refunded != 0) give_back(payer, sale, intent, charge, refunded, d);
  if (disputed) add_dispute(sale, intent, charge, d);
  if (sale.with_intent) return {.payment_intent = intent};
  return {.charge = charge};
}

void MoneySeeder::give_back(const Payer& payer, const Sale& sale, const std::string& intent,
                            const std::string& charge, std::int64_t amount, Dice& d) {
  const std::int64_t created = std::min(now_ - 1, sale.created + d.between(1, 30) * kDayS);
  RefundSpec spec{.id = d.token("re_3", 23),
                  .created = created,
                  .amount = amount,
                  .currency = sale.currency,
                  .charge = charge,
                  .payment_intent = intent,
                  .customer = payer.customer,
                  .payment_method = payer.method};
  spec.balance_transaction = add_transaction("refund", spec.id, sale.currency, -amount, created);
  append("refund", {.id = spec.id, .body = refund_body(spec), .created = created},
         {{"charge", charge}, {"payment_intent", intent}});
}

void MoneySeeder::add_dispute(const Sale& sale, const std::string& intent,
                              const std::string& charge, Dice& d) {
  constexpr std::array<std::string_view, 4> kStatuses = {"needs_response", "under_review", "won",
                                                         "lost"};
  const std::int64_t created = std::min(now_ - 1, sale.created + d.between(5, 40) * kDayS);
  DisputeSpec spec{.id = d.token("dp_1", 23),
                   .created = created,
                   .amount = sale.amount,
                   .currency = sale.currency,
                   .status = std::string(kStatuses[d.below(kStatuses.size())]),
                   .charge = charge,
                   .payment_intent = intent};
  const std::string transaction =
      add_transaction("adjustment", spec.id, sale.currency, -sale.amount, created);
  spec.transaction = world_.of("balance_transaction").find(transaction)->body;
  append("dispute", {.id = spec.id, .body = dispute_body(spec), .created = created},
         {{"charge", charge}, {"payment_intent", intent}});
}

void MoneySeeder::add_one_time_sales(std::uint64_t number, const Payer& payer,
                                     std::int64_t created) {
  Dice d(world_.settings().seed, "checkout", number);
  if (!d.chance(25)) return;
  const std::int64_t at = std::min(now_ - 1, created + d.between(0, 20) * kDayS);
  SessionSpec spec{.id = d.token("cs_test_a1", 56),
                   .created = at,
                   .amount = d.between(5, 400) * 25,
                   .email = payer.email,
                   .name = payer.name};
  const std::uint64_t roll = d.below(10);
  if (roll < 6) {
    const bool guest = roll == 5;
    if (!guest) spec.customer = payer.customer;
    Payer who = payer;
    if (guest) who.customer.clear();
    const Sale sale{.amount = spec.amount, .created = at};
    spec.payment_intent = sell(who, sale, d).payment_intent;
    spec.client_reference_id = "order-" + std::to_string(number);
  } else {
    spec.customer = payer.customer;
    spec.status = at > now_ - kDayS && roll < 8 ? "open" : "expired";
  }
  append("checkout_session", {.id = spec.id, .body = checkout_session_body(spec), .created = at},
         {{"customer", spec.customer}, {"payment_intent", spec.payment_intent}});
}

void MoneySeeder::add_credit(const std::string& invoice, const std::string& customer,
                             const std::string& currency, std::int64_t amount,
                             std::int64_t created) {
  Dice d(world_.settings().seed, "credit note", credits_);
  const CreditSpec spec{.id = d.token("cn_1", 23),
                        .created = created,
                        .amount = amount,
                        .number = "CN-" + std::to_string(1000 + credits_++),
                        .currency = currency,
                        .invoice = invoice,
                        .customer = customer};
  append("credit_note", {.id = spec.id, .body = credit_note_body(spec), .created = created},
         {{"invoice", invoice}, {"customer", customer}});
}

void MoneySeeder::add_payouts() {
  for (auto& [key, week] : weeks_) {
    const std::int64_t created = (key.second + 1) * kWeekS;
    if (week.net <= 0 || created >= now_) continue;
    Dice d(world_.settings().seed, "payout " + key.first, static_cast<std::uint64_t>(key.second));
    PayoutSpec spec{.id = d.token("po_1", 23),
                    .created = created,
                    .arrival = created + 2 * kDayS,
                    .amount = week.net,
                    .currency = key.first};
    if (spec.arrival > now_) spec.status = "in_transit";
    if (d.chance(4)) spec.status = "failed";
    for (Object* paid : week.transactions) paid->payout = spec.id;
    spec.balance_transaction =
        add_transaction("payout", spec.id, spec.currency, -week.net, created);
    append("payout", {.id = spec.id, .body = payout_body(spec), .created = created}, {});
  }
}

}  // namespace fake_stripe
