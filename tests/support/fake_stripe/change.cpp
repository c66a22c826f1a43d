#include "change.hpp"

#include <algorithm>
#include <stdexcept>

#include "bodies.hpp"
#include "bodies_money.hpp"
#include "json_text.hpp"
#include "poison.hpp"

namespace fake_stripe {
namespace {

/// Deep merge in which null is a value.
void merge(Json& into, const Json& set) {
  if (!into.is_object() || !set.is_object()) {
    into = set;
    return;
  }
  for (const auto& [key, value] : set.items()) {
    if (into.contains(key)) {
      merge(into[key], value);
    } else {
      into[key] = value;
    }
  }
}

/// What `previous_attributes` says: the old values of what changed; an array that changed whole.
Json difference(const Json& before, const Json& after) {
  Json previous = Json::object();
  for (const auto& [key, value] : after.items()) {
    if (!before.contains(key)) {
      previous[key] = nullptr;
    } else if (before[key] != value) {
      const bool hashes = before[key].is_object() && value.is_object();
      previous[key] = hashes ? difference(before[key], value) : before[key];
    }
  }
  for (const auto& [key, value] : before.items()) {
    if (!after.contains(key)) previous[key] = value;
  }
  return previous;
}

void check_set(const Resource& row, const Json& set) {
  if (!set.is_object()) throw std::invalid_argument("'set' must be an object");
  const std::string_view nested = nested_list_name(row.type);
  for (const std::string_view key :
       {std::string_view("id"), std::string_view("object"), std::string_view("created"), nested}) {
    if (!key.empty() && set.contains(key)) {
      throw std::invalid_argument("'" + std::string(key) + "' cannot be set on a " +
                                  std::string(row.type));
    }
  }
}

std::string text_of(const Json& tree, const char* pointer) {
  const Json::json_pointer at(pointer);
  return tree.contains(at) && tree[at].is_string() ? tree[at].get<std::string>() : "";
}

Json money_template(const Resource& row, const Json& set, const std::string& id, std::int64_t now) {
  const std::int64_t amount = set.value("amount", std::int64_t{1000});
  const std::string currency = set.value("currency", "usd");
  const std::string customer = text_at(set, "customer");
  const std::string status = text_at(set, "status");
  const auto status_or = [&](const char* usual) { return status.empty() ? usual : status; };
  std::string text;
  if (row.type == "payment_intent") {
    text = payment_intent_body({.id = id,
                                .created = now,
                                .amount = amount,
                                .currency = currency,
                                .status = status_or("requires_payment_method"),
                                .customer = customer,
                                .latest_charge = text_at(set, "latest_charge")});
  } else if (row.type == "charge") {
    text = charge_body({.id = id,
                        .created = now,
                        .amount = amount,
                        .currency = currency,
                        .status = status_or("succeeded"),
                        .customer = customer});
  } else if (row.type == "refund") {
    text = refund_body({.id = id, .created = now, .amount = amount, .currency = currency});
  } else if (row.type == "balance_transaction") {
    const std::int64_t fee = set.value("fee", std::int64_t{0});
    const std::int64_t available_on = set.value("available_on", now + 4 * 24 * 3600);
    text = transaction_body({.id = id,
                             .created = now,
                             .available_on = available_on,
                             .amount = amount,
                             .fee = fee,
                             .currency = currency,
                             .type = set.value("type", "charge"),
                             .available = available_on <= now});
  } else if (row.type == "dispute") {
    text = dispute_body({.id = id, .created = now, .amount = amount, .currency = currency});
  } else if (row.type == "payout") {
    text = payout_body({.id = id,
                        .created = now,
                        .arrival = now + 2 * 24 * 3600,
                        .amount = amount,
                        .currency = currency,
                        .status = status_or("pending"),
                        .automatic = false});
  } else if (row.type == "payment_method") {
    text = payment_method_body(
        {.id = id, .created = now, .type = set.value("type", "card"), .customer = customer});
  } else if (row.type == "setup_intent") {
    text = setup_intent_body({.id = id,
                              .created = now,
                              .status = status_or("requires_payment_method"),
                              .customer = customer,
                              .payment_method = text_at(set, "payment_method")});
  } else if (row.type == "coupon") {
    text = coupon_body({.id = id, .created = now, .percent_off = "25"});
  } else if (row.type == "promotion_code") {
    text = promotion_code_body(
        {.id = id,
         .created = now,
         .code = "NEW" + id.substr(id.size() - std::min<std::size_t>(6, id.size())),
         .customer = customer});
  } else if (row.type == "credit_note") {
    text = credit_note_body(
        {.id = id,
         .created = now,
         .amount = amount,
         .number = "CN-" + id.substr(id.size() - std::min<std::size_t>(6, id.size())),
         .currency = currency,
         .before_payment = set.value("type", "") == "pre_payment"});
  } else if (row.type == "checkout_session") {
    text = checkout_session_body({.id = id,
                                  .created = now,
                                  .amount = set.value("amount_total", std::int64_t{1000}),
                                  .currency = currency,
                                  .mode = set.value("mode", "payment"),
                                  .status = status_or("open"),
                                  .customer = customer});
  } else {
    throw std::invalid_argument("cannot make a '" + std::string(row.type) + "'");
  }
  return Json::parse(text);
}

}  // namespace

std::string text_at(const Json& tree, const std::string& field) {
  if (!tree.is_object()) return "";
  const auto found = tree.find(field);
  return found != tree.end() && found->is_string() ? found->get<std::string>() : "";
}

std::vector<Link> links_of(const Resource& row, const Json& tree) {
  std::vector<Link> links;
  for (const Reference& filter : row.filters) {
    const Json::json_pointer at(pointer_of(filter));
    if (!tree.contains(at) || !tree[at].is_string()) continue;
    links.emplace_back(filter.field, tree[at].get<std::string>());
  }
  return links;
}

Object& Changes::require(const std::string& id) {
  Object* object = world_.find_or_materialise(id);
  if (object == nullptr) throw std::invalid_argument("there is no object '" + id + "'");
  if (object->deleted) throw std::invalid_argument("'" + id + "' was deleted");
  return *object;
}

Json Changes::template_of(const Resource& row, const Json& set, const std::string& id) {
  const std::int64_t now = world_.clock().now_s();
  const std::string currency = set.value("currency", "usd");
  if (row.type == "customer") {
    return Json::parse(customer_body({.id = id, .created = now, .name = "New Customer"}));
  }
  if (row.type == "product") {
    return Json::parse(product_body({.id = id, .created = now, .name = "New Product"}));
  }
  if (row.type == "price") {
    return Json::parse(price_body({.id = id,
                                   .created = now,
                                   .product = text_at(set, "product"),
                                   .currency = currency,
                                   .unit_amount = 1000,
                                   .unit_amount_decimal = "1000"}));
  }
  if (row.type == "subscription") {
    return Json::parse(subscription_body(
        {.id = id, .created = now, .customer = text_at(set, "customer"), .currency = currency}));
  }
  if (row.type == "invoice") {
    const bool draft = set.value("status", "open") == "draft";
    return Json::parse(
        invoice_body({.id = id,
                      .created = now,
                      .number = draft ? "" : "NEW-" + id.substr(id.size() - 6),
                      .customer = text_at(set, "customer"),
                      .subscription = text_of(set, "/parent/subscription_details/subscription"),
                      .currency = currency,
                      .status = set.value("status", "open"),
                      .total = 1000}));
  }
  if (row.type == "invoice_payment") {
    return Json::parse(payment_body({.id = id,
                                     .created = now,
                                     .invoice = text_at(set, "invoice"),
                                     .currency = currency,
                                     .status = set.value("status", "paid"),
                                     .payment_intent = text_of(set, "/payment/payment_intent"),
                                     .charge = text_of(set, "/payment/charge"),
                                     .amount = set.value("amount_requested", 1000)}));
  }
  return money_template(row, set, id, now);
}

Json Changes::generated_tree(const Resource& row, const Json& set) {
  const std::string id = "@@id@@";
  Json tree;
  if (row.type == "event") {
    tree = {{"object", "event"},
            {"api_version", world_.account_version},
            {"data", {{"object", {{"id", "@@id@@"}, {"object", "customer"}}}}},
            {"livemode", false},
            {"pending_webhooks", 0},
            {"request", {{"id", nullptr}, {"idempotency_key", nullptr}}},
            {"type", "customer.updated"}};
  } else {
    tree = template_of(row, set, id);
  }
  for (const char* field : {"amount", "amount_captured", "amount_received", "amount_due",
                            "amount_remaining", "net", "subtotal", "total"}) {
    if (tree.contains(field) && tree[field].is_number()) tree[field] = "@@number@@";
  }
  if (tree.contains("email")) tree["email"] = "user@@index@@@example.com";
  if (tree.contains("name")) tree["name"] = "Name @@index@@";
  const std::string nested(nested_list_name(row.type));
  if (!nested.empty()) {
    tree[nested] = {{"object", "list"},
                    {"data", Json::array()},
                    {"has_more", false},
                    {"total_count", 0},
                    {"url", "/v1/" + std::string(row.path) + "/@@id@@/" + nested}};
  }
  merge(tree, set);
  tree["id"] = id;
  tree["created"] = "@@created@@";
  return tree;
}

Object& Changes::add(const Resource& row, const Json& tree, Object* parent) {
  Object object{.id = text_at(tree, "id"), .body = tree.dump()};
  world_.has_poison = world_.has_poison || fake_stripe::has_poison(object.body);
  object.created = tree.value("created", parent == nullptr ? 0 : parent->created);
  object.number = world_.next_number();
  object.parent = parent;
  object.canceled = row.type == "subscription" && text_at(tree, "status") == "canceled";
  object.clocked = !text_at(tree, "test_clock").empty();
  object.visible_ms = world_.shown_from_ms(row);
  Object& made = world_.of(row.type).insert(std::move(object), links_of(row, tree));
  if (row.type == "balance_transaction" && text_at(tree, "status") == "pending") {
    world_.await_funds(made, tree.value("available_on", std::int64_t{0}));
  }
  return made;
}

const Object& Changes::create(const std::string& type, Json set, const Telling& telling) {
  const Resource* row = find_resource(type);
  if (row == nullptr || type == "event" || type == "account") {
    throw std::invalid_argument("cannot create a '" + type + "'");
  }
  if (!set.is_object()) throw std::invalid_argument("'set' must be an object");
  if (!row->parent_field.empty()) {
    Object& parent = require(text_at(set, std::string(row->parent_field)));
    const Json before = tree_for_events(parent, telling);
    const Object& child = create_child(*row, std::move(set), parent);
    tell_update(parent, before, telling);
    return child;
  }
  for (const char* field : {"customer", "product", "invoice", "charge", "payment_method"}) {
    if (set.contains(field) && set[field].is_string()) require(text_at(set, field));
  }
  const std::string_view nested = nested_list_name(type);
  const bool needs_customer = type == "subscription" || type == "invoice";
  if (needs_customer && text_at(set, "customer").empty())
    throw std::invalid_argument(type + " needs set.customer");
  Json children = nested.empty() ? Json() : set.value(nested, Json());
  if (!nested.empty()) set.erase(std::string(nested));
  const std::string id = set.contains("id") ? text_at(set, "id") : world_.new_id(row->id_prefix);
  prepare(*row, id, set, telling);
  Json tree = template_of(*row, set, id);
  merge(tree, set);
  Object& made = add(*row, tree, nullptr);
  if (type == "subscription") add_items(made, children);
  if (type == "invoice") add_lines(made, children);
  tell(birth_events(*row, tree), tree_for_events(made, telling), Json(), telling);
  follow_create(made, telling);
  return made;
}

void Changes::add_items(Object& subscription, const Json& items) {
  const Resource& row = *find_resource("subscription_item");
  if (!items.is_array() || items.empty()) {
    create_child(row, Json::object(), subscription);
    return;
  }
  for (const Json& item : items) create_child(row, item, subscription);
}

void Changes::add_lines(Object& invoice, const Json& lines) {
  const Resource& row = *find_resource("invoice_line");
  if (lines.is_array()) {
    for (const Json& line : lines) create_child(row, line, invoice);
    return;
  }
  const int count = lines.is_number_integer() ? lines.get<int>() : 1;
  for (int i = 0; i < count; ++i) create_child(row, Json::object(), invoice);
}

Object& Changes::create_child(const Resource& row, Json set, Object& parent) {
  const bool item = row.type == "subscription_item";
  const std::string price_id = text_at(set, "price");
  const Ordered& prices = world_.of("price").live();
  if (price_id.empty() && prices.empty()) throw std::invalid_argument("there is no price to use");
  const Object& price = price_id.empty() ? *prices.front() : require(price_id);
  if (price.resource->type != "price")
    throw std::invalid_argument("'" + price_id + "' is not a price");
  set.erase("price");
  const std::string product = text_at(Json::parse(price.body), "product");
  const std::string id = set.contains("id") ? text_at(set, "id") : world_.new_id(row.id_prefix);
  const std::int64_t now = world_.clock().now_s();
  Json tree = Json::parse(item ? item_body({.id = id,
                                            .created = now,
                                            .subscription = parent.id,
                                            .price = price.id,
                                            .product = product,
                                            .period_start = now,
                                            .period_end = now + kMonthS})
                               : line_body({.id = id,
                                            .invoice = parent.id,
                                            .price = price.id,
                                            .product = product,
                                            .unit_amount_decimal = "1000",
                                            .description = "1 × Plan",
                                            .amount = 1000,
                                            .period_start = now,
                                            .period_end = now + kMonthS}));
  merge(tree, set);
  Object& child = add(row, tree, &parent);
  if (item) child.price = &price;
  parent.children.push_back(&child);
  return child;
}

void Changes::apply(Object& object, Json tree) {
  const Resource& row = *object.resource;
  if (row.type == "subscription_item" && tree.contains("price")) {
    const Object& price = require(text_at(tree, "price"));
    const std::string product = text_at(Json::parse(price.body), "product");
    object.price = &price;
    tree["plan"] = Json::parse(plan_text(price.id, product, "usd"));
    tree.erase("price");
  }
  const Json before = Json::parse(object.body);
  if (row.type == "product" && before != tree) tree["updated"] = world_.clock().now_s();
  object.body = tree.dump();
  world_.has_poison = world_.has_poison || fake_stripe::has_poison(object.body);
  object.canceled = row.type == "subscription" && text_at(tree, "status") == "canceled";
  object.clocked = !text_at(tree, "test_clock").empty();
  world_.of(row.type).relink(object, links_of(row, before), links_of(row, tree));
}

const Object& Changes::mutate(const std::string& id, const Json& set,
                              const std::vector<std::string>& unset, const Telling& telling) {
  Object& object = require(id);
  if (object.resource->type == "event") throw std::invalid_argument("events cannot be changed");
  check_set(*object.resource, set);
  const Object& owner = object.parent == nullptr ? object : *object.parent;
  const Json before = tree_for_events(owner, telling);
  const Json was = Json::parse(object.body);
  Json tree = was;
  const std::string status = text_at(set, "status");
  if (!status.empty() && status != text_at(was, "status")) {
    merge(tree, implied_by_status(*object.resource, was, status, world_.clock().now_s()));
  }
  merge(tree, set);
  for (const std::string& key : unset) tree.erase(key);
  apply(object, std::move(tree));
  tell_update(owner, before, telling);
  follow_update(object, was, telling);
  return object;
}

void Changes::check_removal(const Object& object, bool force) const {
  const Resource& row = *object.resource;
  if (row.deletion == Deletion::kNever || object.id == world_.account_id()) {
    throw std::invalid_argument("this " + std::string(row.type) + " cannot be deleted");
  }
  if (force) return;
  if (row.type == "product" && !world_.of("price").linked("product", object.id).empty()) {
    throw std::invalid_argument("the product has prices; delete them first or send \"force\":true");
  }
  if (row.type == "invoice" && text_at(Json::parse(object.body), "status") != "draft") {
    throw std::invalid_argument("only drafts can be deleted; send \"force\":true to do it anyway");
  }
  if (row.deletion == Deletion::kCancels && object.canceled)
    throw std::invalid_argument("it is canceled already");
}

const Object& Changes::remove(const std::string& id, bool force, const Telling& telling) {
  Object& object = require(id);
  check_removal(object, force);
  const Resource& row = *object.resource;
  if (row.deletion == Deletion::kCancels) {
    cancel(object, telling);
    return object;
  }
  if (row.deletion == Deletion::kDetaches) {
    const Json before = tree_for_events(object, telling);
    Json tree = Json::parse(object.body);
    if (text_at(tree, "customer").empty()) throw std::invalid_argument("it is detached already");
    tree["customer"] = nullptr;
    apply(object, std::move(tree));
    tell_update(object, before, telling);
    return object;
  }
  if (object.parent != nullptr) {
    const Json before = tree_for_events(*object.parent, telling);
    detach(object);
    tell_update(*object.parent, before, telling);
    return object;
  }
  if (row.type == "customer") cancel_subscriptions_of(object);
  const Json last = tree_for_events(object, telling);
  const std::vector<Object*> children = object.children;
  for (Object* child : children) detach(*child);
  world_.of(row.type).erase(object, links_of(row, Json::parse(object.body)));
  tell({std::string(row.event_deleted)}, last, Json(), telling);
  return object;
}

void Changes::detach(Object& child) {
  std::erase(child.parent->children, &child);
  world_.of(child.resource->type).erase(child, {});
}

void Changes::cancel(Object& subscription, const Telling& telling) {
  Json tree = Json::parse(subscription.body);
  const std::int64_t now = world_.clock().now_s();
  merge(tree, {{"status", "canceled"}, {"canceled_at", now}, {"ended_at", now}});
  apply(subscription, std::move(tree));
  tell({std::string(subscription.resource->event_deleted)}, tree_for_events(subscription, telling),
       Json(), telling);
}

void Changes::cancel_subscriptions_of(const Object& customer) {
  const Ordered subscriptions = world_.of("subscription").linked("customer", customer.id);
  for (Object* subscription : subscriptions) {
    if (!subscription->canceled) cancel(*subscription, {});
  }
}

const Object& Changes::emit_raw(const std::string& type, const Json& payload,
                                const Telling& telling) {
  return emit(type, payload, Json(), telling);
}

Json Changes::tree_for_events(const Object& object, const Telling& telling) const {
  const std::string version =
      telling.api_version.empty() ? world_.account_version : telling.api_version;
  return object_tree(world_, object, Shape(version));
}

void Changes::tell_update(const Object& object, const Json& before, const Telling& telling) {
  const Json after = tree_for_events(object, telling);
  const Json previous = difference(before, after);
  if (previous.empty() && !telling.types) return;  // Stripe tells nothing when nothing changed
  tell(update_events(*object.resource, before, after), after, previous, telling);
}

void Changes::tell(const std::vector<std::string>& usual_types, const Json& payload,
                   const Json& previous, const Telling& telling) {
  for (const std::string& type : telling.types ? *telling.types : usual_types) {
    if (!type.empty()) emit(type, payload, previous, telling);
  }
}

const Object& Changes::emit(const std::string& type, const Json& payload, const Json& previous,
                            const Telling& telling) {
  const std::string version =
      telling.api_version.empty() ? world_.account_version : telling.api_version;
  Json data = {{"object", payload}};
  const bool shows_previous =
      type.ends_with(".updated") || type == "payment_method.detached" || type == "charge.refunded";
  if (!previous.is_null() && shows_previous) data["previous_attributes"] = previous;
  Json request = {{"id", world_.new_id("req_").substr(0, 18)}, {"idempotency_key", nullptr}};
  if (version < "2017-05-25") request = request["id"];
  const std::int64_t now_ms = world_.clock().now_ms();
  const std::string id = world_.new_id("evt_1");
  const Json event = {
      {"id", id},     {"object", "event"}, {"api_version", version}, {"created", now_ms / 1000},
      {"data", data}, {"livemode", false}, {"pending_webhooks", 0},  {"request", request},
      {"type", type}};
  Object object{.id = id,
                .body = event.dump(),
                .created = now_ms / 1000,
                .number = world_.next_number(),
                .visible_ms = now_ms + telling.lag_ms.value_or(world_.event_lag_ms)};
  return world_.of("event").insert(std::move(object), {});
}

}  // namespace fake_stripe
