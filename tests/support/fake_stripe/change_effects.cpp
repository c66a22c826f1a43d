// What one change does to other objects, and which events tell it.

#include <algorithm>
#include <array>
#include <stdexcept>

#include "change.hpp"

namespace fake_stripe {
namespace {

std::int64_t number_at(const Json& tree, const char* field) {
  const auto found = tree.find(field);
  return found != tree.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

/// Takes over from `source` what `set` does not say.
void fill(Json& set, const Json& source, std::initializer_list<const char*> fields) {
  for (const char* field : fields) {
    if (!set.contains(field) && source.contains(field)) set[field] = source[field];
  }
}

/// Events of objects that a change brings along: silent when the change itself is.
Telling beside(const Telling& telling, std::vector<std::string> types) {
  Telling side = telling;
  if (!telling.types || !telling.types->empty()) side.types = std::move(types);
  return side;
}

/// The same, with the usual events.
Telling beside(const Telling& telling) {
  Telling side = telling;
  if (telling.types && !telling.types->empty()) side.types.reset();
  return side;
}

/// What tells that an object came to `status`, beside its `.updated` if it has one.
std::vector<std::string> status_events(std::string_view type, const std::string& status) {
  if (type == "invoice") {
    if (status == "paid") return {"invoice.paid", "invoice.payment_succeeded"};
    if (status == "open") return {"invoice.finalized"};
    if (status == "void") return {"invoice.voided"};
    if (status == "uncollectible") return {"invoice.marked_uncollectible"};
  } else if (type == "subscription") {
    if (status == "paused") return {"customer.subscription.paused"};
  } else if (type == "payment_intent") {
    if (status == "succeeded" || status == "canceled" || status == "processing" ||
        status == "requires_action") {
      return {"payment_intent." + status};
    }
    if (status == "requires_capture") return {"payment_intent.amount_capturable_updated"};
    if (status == "requires_payment_method") return {"payment_intent.payment_failed"};
  } else if (type == "charge") {
    if (status == "succeeded" || status == "failed" || status == "pending") {
      return {"charge." + status};
    }
  } else if (type == "refund") {
    if (status == "failed") return {"refund.failed"};
  } else if (type == "payout") {
    if (status == "paid" || status == "failed" || status == "canceled") return {"payout." + status};
  } else if (type == "setup_intent") {
    if (status == "succeeded" || status == "canceled" || status == "requires_action") {
      return {"setup_intent." + status};
    }
    if (status == "requires_payment_method") return {"setup_intent.setup_failed"};
  } else if (type == "credit_note") {
    if (status == "void") return {"credit_note.voided"};
  } else if (type == "checkout_session") {
    if (status == "complete") return {"checkout.session.completed"};
    if (status == "expired") return {"checkout.session.expired"};
  } else if (type == "invoice_payment") {
    if (status == "paid") return {"invoice_payment.paid"};
  }
  return {};
}

bool is_closed(const std::string& dispute_status) {
  return dispute_status == "won" || dispute_status == "lost" ||
         dispute_status == "warning_closed" || dispute_status == "prevented";
}

std::vector<std::string> dispute_events(const std::string& was, const std::string& is) {
  if (was == is || !is_closed(is)) return {"charge.dispute.updated"};
  if (is == "won") return {"charge.dispute.closed", "charge.dispute.funds_reinstated"};
  return {"charge.dispute.closed"};
}

std::vector<std::string> method_events(const Json& before, const Json& after) {
  const std::string was = text_at(before, "customer");
  const std::string is = text_at(after, "customer");
  if (was == is) return {"payment_method.updated"};
  return {is.empty() ? "payment_method.detached" : "payment_method.attached"};
}

}  // namespace

std::vector<std::string> birth_events(const Resource& row, const Json& tree) {
  const std::string status = text_at(tree, "status");
  if (row.type == "charge" || row.type == "invoice_payment") return status_events(row.type, status);
  if (row.type == "payment_method" && text_at(tree, "customer").empty()) return {};
  if (row.event_created.empty()) return {};
  std::vector<std::string> types = {std::string(row.event_created)};
  if (row.type == "dispute") types.emplace_back("charge.dispute.funds_withdrawn");
  if ((row.type == "payment_intent" || row.type == "setup_intent") && status == "succeeded") {
    types.push_back(std::string(row.type) + ".succeeded");
  }
  return types;
}

std::vector<std::string> update_events(const Resource& row, const Json& before, const Json& after) {
  const std::string was = text_at(before, "status");
  const std::string is = text_at(after, "status");
  if (row.type == "dispute") return dispute_events(was, is);
  if (row.type == "payment_method") return method_events(before, after);
  if (row.type == "subscription" && is == "canceled" && was != is) {
    return {"customer.subscription.deleted"};
  }
  if (row.type == "charge") {
    const auto differs = [&](const char* field) {
      return before.value(field, Json()) != after.value(field, Json());
    };
    if (differs("amount_refunded")) return {"charge.refunded"};
    if (differs("captured")) return {"charge.captured"};
  }
  std::vector<std::string> types;
  if (!row.event_updated.empty()) types.emplace_back(row.event_updated);
  if (was != is) {
    for (std::string& type : status_events(row.type, is)) types.push_back(std::move(type));
    if (row.type == "subscription" && was == "paused") {
      types.emplace_back("customer.subscription.resumed");
    }
  }
  return types;
}

Json implied_by_status(const Resource& row, const Json& before, const std::string& status,
                       std::int64_t now) {
  if (row.type == "invoice" && status == "paid") {
    return {{"amount_paid", number_at(before, "amount_due")},
            {"amount_remaining", 0},
            {"status_transitions", {{"paid_at", now}}}};
  }
  if (row.type == "invoice" && status == "open") {
    return {{"auto_advance", false},
            {"effective_at", now},
            {"number", "FIN-" + std::to_string(now)},
            {"status_transitions", {{"finalized_at", now}}}};
  }
  if (row.type == "invoice" && status == "void") {
    return {{"amount_remaining", 0}, {"status_transitions", {{"voided_at", now}}}};
  }
  if (row.type == "invoice" && status == "uncollectible") {
    return {{"status_transitions", {{"marked_uncollectible_at", now}}}};
  }
  if (row.type == "subscription" && status == "canceled") {
    return {{"canceled_at", now}, {"ended_at", now}};
  }
  if (row.type == "payment_intent" && status == "succeeded") {
    return {{"amount_received", number_at(before, "amount")}, {"last_payment_error", nullptr}};
  }
  if (row.type == "payment_intent" && status == "canceled") {
    return {{"canceled_at", now}, {"cancellation_reason", "requested_by_customer"}};
  }
  if (row.type == "charge" && status == "succeeded") {
    return {{"paid", true}, {"captured", true}, {"amount_captured", number_at(before, "amount")}};
  }
  if (row.type == "refund" && status == "failed") {
    return {{"failure_reason", "expired_or_canceled_card"}};
  }
  if (row.type == "payout" && status == "failed") {
    return {{"failure_code", "account_closed"},
            {"failure_message", "The bank account has been closed."}};
  }
  if (row.type == "credit_note" && status == "void") return {{"voided_at", now}};
  if (row.type == "checkout_session" && status == "complete") {
    return {{"payment_status", "paid"}, {"url", nullptr}};
  }
  if (row.type == "checkout_session") return {{"url", nullptr}};
  return Json::object();
}

std::string Changes::add_transaction(const std::string& type, const std::string& source,
                                     const std::string& currency, std::int64_t amount,
                                     std::int64_t fee) {
  const Resource& row = *find_resource("balance_transaction");
  const std::string id = world_.new_id(row.id_prefix);
  const Json set = {{"type", type}, {"currency", currency}, {"amount", amount}, {"fee", fee}};
  Json tree = template_of(row, set, id);
  tree["source"] = source;
  add(row, tree, nullptr);
  return id;
}

void Changes::adjust(const std::string& id, const Json& set, std::vector<std::string> types,
                     const Telling& telling) {
  const Object* object = world_.find_any(id);
  if (object == nullptr) return;  // dangling, as references may be
  const Json tree = Json::parse(object->body);
  const auto says_already = [&tree](const auto& member) {
    const auto found = tree.find(member.key());
    return found != tree.end() && *found == member.value();
  };
  const auto members = set.items();
  if (std::all_of(members.begin(), members.end(), says_already)) return;
  mutate(id, set, {}, beside(telling, std::move(types)));
}

void Changes::prepare(const Resource& row, const std::string& id, Json& set,
                      const Telling& telling) {
  if (row.type == "charge") prepare_charge(id, set, telling);
  if (row.type == "refund") prepare_refund(id, set);
  if (row.type == "dispute") prepare_dispute(id, set);
  if (row.type == "credit_note") prepare_credit_note(set);
  if (row.type == "payout" && !set.contains("balance_transaction")) {
    const std::int64_t amount = set.value("amount", std::int64_t{1000});
    set["balance_transaction"] =
        add_transaction("payout", id, set.value("currency", "usd"), -amount, 0);
  }
  if (row.type == "promotion_code" && !set.contains("promotion")) {
    const Ordered& coupons = world_.of("coupon").live();
    if (coupons.empty()) throw std::invalid_argument("there is no coupon to promote");
    set["promotion"]["coupon"] = coupons.front()->id;
  }
  if (row.type == "invoice_payment" && !set.contains("payment")) {
    const Json invoice = Json::parse(require(text_at(set, "invoice")).body);
    Json charge = Json::object();
    fill(charge, invoice, {"customer", "currency"});
    charge["amount"] = set.value("amount_requested", std::int64_t{1000});
    const Object& made = create("charge", charge, beside(telling));
    set["payment"]["payment_intent"] = text_at(Json::parse(made.body), "payment_intent");
  }
}

void Changes::prepare_charge(const std::string& id, Json& set, const Telling& telling) {
  const bool succeeded = set.value("status", "succeeded") == "succeeded";
  const std::int64_t amount = set.value("amount", std::int64_t{1000});
  const std::string currency = set.value("currency", "usd");
  if (succeeded && !set.contains("balance_transaction")) {
    set["balance_transaction"] =
        add_transaction("charge", id, currency, amount, amount * 29 / 1000 + 30);
  }
  if (set.contains("payment_intent")) return;
  Json intent = {{"amount", amount},
                 {"currency", currency},
                 {"latest_charge", id},
                 {"status", succeeded ? "succeeded" : "requires_payment_method"}};
  fill(intent, set, {"customer", "payment_method"});
  set["payment_intent"] = create("payment_intent", intent, beside(telling)).id;
}

void Changes::prepare_refund(const std::string& id, Json& set) {
  const Json charge = Json::parse(require(text_at(set, "charge")).body);
  const std::int64_t left = number_at(charge, "amount") - number_at(charge, "amount_refunded");
  if (!set.contains("amount")) set["amount"] = left;
  if (set["amount"] > left)
    throw std::invalid_argument("the charge has no " + set["amount"].dump() + " left");
  fill(set, charge, {"currency", "payment_intent", "customer", "payment_method"});
  if (set.contains("balance_transaction")) return;
  set["balance_transaction"] = add_transaction("refund", id, set.value("currency", "usd"),
                                               -set["amount"].get<std::int64_t>(), 0);
}

void Changes::prepare_dispute(const std::string& id, Json& set) {
  const Json charge = Json::parse(require(text_at(set, "charge")).body);
  fill(set, charge, {"amount", "currency", "payment_intent"});
  if (set.contains("balance_transactions")) return;
  const std::string transaction = add_transaction("adjustment", id, set.value("currency", "usd"),
                                                  -set.value("amount", std::int64_t{1000}), 1500);
  set["balance_transactions"] =
      Json::array({Json::parse(world_.of("balance_transaction").find(transaction)->body)});
}

void Changes::prepare_credit_note(Json& set) {
  const Json invoice = Json::parse(require(text_at(set, "invoice")).body);
  fill(set, invoice, {"customer", "currency"});
  if (!set.contains("type")) {
    set["type"] = text_at(invoice, "status") == "open" ? "pre_payment" : "post_payment";
  }
  if (!set.contains("amount")) set["amount"] = number_at(invoice, "total") / 2;
}

void Changes::follow_create(const Object& made, const Telling& telling) {
  const std::string_view type = made.resource->type;
  const Json tree = Json::parse(made.body);
  if (type == "refund") {
    const Json charge = Json::parse(require(text_at(tree, "charge")).body);
    const std::int64_t refunded = number_at(charge, "amount_refunded") + number_at(tree, "amount");
    adjust(text_at(tree, "charge"),
           {{"amount_refunded", refunded}, {"refunded", refunded == number_at(charge, "amount")}},
           {"charge.refunded"}, telling);
  } else if (type == "dispute") {
    adjust(text_at(tree, "charge"), {{"disputed", true}}, {}, telling);
  } else if (type == "credit_note" && text_at(tree, "type") == "pre_payment") {
    const Json invoice = Json::parse(require(text_at(tree, "invoice")).body);
    const std::int64_t left = number_at(invoice, "amount_remaining") - number_at(tree, "amount");
    adjust(text_at(tree, "invoice"), {{"amount_remaining", std::max<std::int64_t>(0, left)}},
           {"invoice.updated"}, telling);
  }
}

void Changes::follow_update(const Object& object, const Json& before, const Telling& telling) {
  const std::string_view type = object.resource->type;
  const Json tree = Json::parse(object.body);
  const std::string was = text_at(before, "status");
  const std::string is = text_at(tree, "status");
  if (was == is) return;
  if (type == "invoice" && is == "paid") {
    const Json::json_pointer at("/parent/subscription_details/subscription");
    const std::string subscription =
        tree.contains(at) && tree[at].is_string() ? tree[at].get<std::string>() : "";
    const Object* owner = world_.of("subscription").find(subscription);
    if (owner != nullptr && text_at(Json::parse(owner->body), "status") == "past_due") {
      adjust(subscription, {{"status", "active"}}, {"customer.subscription.updated"}, telling);
    }
    const Object* customer = world_.of("customer").find(text_at(tree, "customer"));
    if (customer != nullptr && !customer->deleted) {
      adjust(customer->id, {{"delinquent", false}}, {"customer.updated"}, telling);
    }
  } else if (type == "refund" && (is == "failed" || is == "canceled")) {
    // The money comes back to the charge without an event of the charge's own.
    const Json charge = Json::parse(require(text_at(tree, "charge")).body);
    const std::int64_t refunded = number_at(charge, "amount_refunded") - number_at(tree, "amount");
    adjust(text_at(tree, "charge"), {{"amount_refunded", refunded}, {"refunded", false}}, {},
           telling);
    const std::string transaction = add_transaction(
        "refund_failure", object.id, text_at(tree, "currency"), number_at(tree, "amount"), 0);
    adjust(object.id, {{"failure_balance_transaction", transaction}}, {}, telling);
  } else if (type == "payout" && is == "failed") {
    const std::string transaction = add_transaction(
        "payout_failure", object.id, text_at(tree, "currency"), number_at(tree, "amount"), 0);
    adjust(object.id, {{"failure_balance_transaction", transaction}}, {}, telling);
  } else if (type == "dispute" && is == "won") {
    const std::string transaction = add_transaction(
        "adjustment", object.id, text_at(tree, "currency"), number_at(tree, "amount"), 0);
    Json all = tree.value("balance_transactions", Json::array());
    all.push_back(Json::parse(world_.of("balance_transaction").find(transaction)->body));
    adjust(object.id, {{"balance_transactions", all}}, {}, telling);
  }
}

const Object& Changes::pay(const std::string& invoice, const Telling& telling) {
  const Json tree = Json::parse(require(invoice).body);
  if (text_at(tree, "status") != "open")
    throw std::invalid_argument("'" + invoice + "' is not open");
  const std::int64_t amount = number_at(tree, "amount_remaining");
  const Json set = {{"invoice", invoice},
                    {"amount_requested", amount},
                    {"amount_paid", amount},
                    {"currency", text_at(tree, "currency")}};
  create("invoice_payment", set, beside(telling));
  return mutate(invoice, {{"status", "paid"}}, {}, telling);
}

Json Changes::plausible_set(const Resource& row, Dice& d) {
  const auto any = [&](std::string_view type) -> const Object* {
    const Ordered& live = world_.of(type).live();
    return live.empty() ? nullptr : live[d.below(live.size())];
  };
  Json set = Json::object();
  const std::string_view type = row.type;
  const bool by_customer = type == "subscription" || type == "invoice" || type == "charge" ||
                           type == "payment_intent" || type == "payment_method" ||
                           type == "setup_intent" || type == "checkout_session";
  if (by_customer) {
    if (const Object* customer = any("customer")) set["customer"] = customer->id;
  }
  if (type == "subscription_item") {
    if (const Object* parent = any("subscription")) set["subscription"] = parent->id;
  }
  if (type == "invoice_line") {
    if (const Object* parent = any("invoice")) set["invoice"] = parent->id;
  }
  if (type == "customer") {
    set["name"] = "Customer " + std::to_string(d.below(1000000));
    set["email"] = d.token("", 10) + "@example.com";
  }
  if (type == "product") set["name"] = "Product " + std::to_string(d.below(1000000));
  if (type == "price") {
    if (const Object* product = any("product")) set["product"] = product->id;
    const std::int64_t amount = d.between(1, 400) * 25;
    set["unit_amount"] = amount;
    set["unit_amount_decimal"] = std::to_string(amount);
  }
  if (type == "charge" || type == "payment_intent") set["amount"] = d.between(4, 4000) * 25;
  if (type == "invoice_payment" || type == "credit_note") {
    if (const Object* invoice = any("invoice")) set["invoice"] = invoice->id;
  }
  if (type == "refund" || type == "dispute") {
    for (int tries = 0; tries < 100; ++tries) {
      const Object* charge = any("charge");
      if (charge == nullptr) break;
      const Json tree = Json::parse(charge->body);
      if (text_at(tree, "status") != "succeeded" || number_at(tree, "amount_refunded") != 0) {
        continue;
      }
      set["charge"] = charge->id;
      set["amount"] = std::max<std::int64_t>(1, number_at(tree, "amount") / d.between(1, 3));
      break;
    }
    if (!set.contains("charge"))
      set["charge"] =
          create("charge", Json::object(), Telling{.types = std::vector<std::string>{}}).id;
  }
  if (type == "promotion_code") {
    if (const Object* coupon = any("coupon")) set["promotion"]["coupon"] = coupon->id;
  }
  if (type == "payout") set["amount"] = d.between(4, 4000) * 100;
  if (type == "balance_transaction") set["amount"] = d.between(-4000, 4000) * 25;
  return set;
}

}  // namespace fake_stripe
