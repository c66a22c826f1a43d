#include "render.hpp"

#include <algorithm>
#include <optional>

#include "json_text.hpp"

namespace fake_stripe {
namespace {

/// Appends `body` without its closing brace, so that more keys can follow.
void append_open(std::string& out, const std::string& body) {
  out.append(body, 0, body.size() - 1);
}

std::string nested_url(const Object& parent) {
  if (parent.resource->type == "subscription") {
    return "/v1/subscription_items?subscription=" + parent.id;
  }
  return "/v1/invoices/" + parent.id + "/lines";
}

void append_nested_list(std::string& out, const Object& parent, Nested nested) {
  const std::size_t total = parent.children.size();
  const std::size_t shown = nested == Nested::kComplete ? total : std::min(total, kEmbeddedMax);
  out += ",\"";
  out += nested_list_name(parent.resource->type);
  out += "\":{\"object\":\"list\",\"data\":[";
  for (std::size_t i = 0; i < shown; ++i) {
    if (i != 0) out += ',';
    append_object(out, *parent.children[i], nested);
  }
  out += "],\"has_more\":";
  out += shown < total ? "true" : "false";
  out += ",\"total_count\":" + std::to_string(total) + ",\"url\":";
  append_json_string(out, nested_url(parent));
  out += "}}";
}

void append_item(std::string& out, const Object& item) {
  append_open(out, item.body);
  out += ",\"price\":";
  append_object(out, *item.price);
  out += '}';
}

Json payments_list(const World& world, const std::string& invoice_id) {
  const Ordered& payments = world.of("invoice_payment").linked("invoice", invoice_id);
  Json data = Json::array();
  for (auto at = payments.rbegin(); at != payments.rend() && data.size() < kEmbeddedMax; ++at) {
    data.push_back(Json::parse((*at)->body));
  }
  return {{"object", "list"},
          {"data", data},
          {"has_more", data.size() < payments.size()},
          {"url", "/v1/invoices/" + invoice_id + "/payments"}};
}

std::string_view child_type(std::string_view parent_type) {
  return parent_type == "subscription" ? "subscription_item" : "invoice_line";
}

std::pair<std::string_view, std::string_view> split_first(std::string_view path) {
  const auto dot = path.find('.');
  if (dot == std::string_view::npos) return {path, {}};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

bool expand_children(const World& world, Json& value, const Resource& parent, std::string_view rest,
                     const Shape& shape) {
  const auto [data, inner] = split_first(rest);
  if (data != "data") return false;
  if (inner.empty()) return true;
  for (Json& child : value["data"]) {
    if (!expand(world, child, *find_resource(child_type(parent.type)), inner, shape)) return false;
  }
  return true;
}

/// The object that a reference may mean; nullptr when there never was one.
const Object* target_of(const World& world, const Reference& reference, const std::string& id) {
  return reference.type.empty() ? world.find_any(id) : world.of(reference.type).find(id);
}

bool expand_reference(const World& world, Json& value, const Reference& reference,
                      std::string_view rest, const Shape& shape) {
  const Json::json_pointer at(pointer_of(reference));
  if (!value.contains(at)) return true;
  Json& field = value[at];
  const Resource* resource = reference.type.empty() ? nullptr : find_resource(reference.type);
  if (field.is_string()) {
    const Object* target = target_of(world, reference, field.get<std::string>());
    if (target == nullptr) return true;
    if (target->deleted) {
      field = Json::parse(tombstone_text(*target));
      return true;
    }
    resource = target->resource;
    field = object_tree(world, *target, shape);
  }
  if (rest.empty() || !field.is_object() || field.contains("deleted")) return true;
  return resource != nullptr && expand(world, field, *resource, rest, shape);
}

/// What is left of `path` behind `field`; nullopt when it does not begin with it.
std::optional<std::string_view> rest_behind(std::string_view path, std::string_view field) {
  if (!path.starts_with(field)) return std::nullopt;
  path.remove_prefix(field.size());
  if (path.empty()) return path;
  if (path.front() != '.') return std::nullopt;
  return path.substr(1);
}

Json refunds_list(const World& world, const std::string& charge) {
  const Ordered& refunds = world.of("refund").linked("charge", charge);
  Json data = Json::array();
  for (auto at = refunds.rbegin(); at != refunds.rend() && data.size() < kEmbeddedMax; ++at) {
    data.push_back(Json::parse((*at)->body));
  }
  return {{"object", "list"},
          {"data", data},
          {"has_more", data.size() < refunds.size()},
          {"total_count", refunds.size()},
          {"url", "/v1/charges/" + charge + "/refunds"}};
}

/// Two steps: so much each up to ten, then a fee and a fraction of a unit each.
Json tiers_of(const Json& price) {
  const std::int64_t each = 100 + price.value("created", std::int64_t{0}) % 10 * 50;
  return Json::array({{{"flat_amount", nullptr},
                       {"flat_amount_decimal", nullptr},
                       {"unit_amount", each},
                       {"unit_amount_decimal", std::to_string(each)},
                       {"up_to", 10}},
                      {{"flat_amount", 2000},
                       {"flat_amount_decimal", "2000"},
                       {"unit_amount", nullptr},
                       {"unit_amount_decimal", "0.25"},
                       {"up_to", nullptr}}});
}

/// Its own currency, and every other price has a second one.
Json currency_options_of(const Json& price) {
  const Json option = {{"custom_unit_amount", nullptr},
                       {"tax_behavior", price.value("tax_behavior", Json())},
                       {"unit_amount", price.value("unit_amount", Json())},
                       {"unit_amount_decimal", price.value("unit_amount_decimal", Json())}};
  const std::string own = price.value("currency", std::string("usd"));
  Json options = {{own, option}};
  if (price.value("created", std::int64_t{0}) % 2 == 0)
    options[own == "gbp" ? "usd" : "gbp"] = option;
  return options;
}

/// Fields of a price or coupon that are absent unless expanded, and then, too, where there is
/// nothing to say. False when `field` is none of them.
bool include(const World& world, Json& value, std::string_view type, std::string_view field) {
  if (type == "price" && field == "tiers") {
    if (value.value("billing_scheme", std::string()) == "tiered") value["tiers"] = tiers_of(value);
    return true;
  }
  if (type == "price" && field == "currency_options") {
    value["currency_options"] = currency_options_of(value);
    return true;
  }
  if (type == "coupon" && field == "applies_to") {
    const Ordered& products = world.of("product").live();
    const bool to_some = value.value("duration", std::string()) == "once" && !products.empty();
    if (to_some) value["applies_to"] = {{"products", Json::array({(*products.begin())->id})}};
    return true;
  }
  if (type == "coupon" && field == "currency_options") {
    const Json off = value.value("amount_off", Json());
    if (off.is_number()) {
      value["currency_options"] = {{"usd", {{"amount_off", off}}}, {"gbp", {{"amount_off", off}}}};
    }
    return true;
  }
  return false;
}

}  // namespace

void append_object(std::string& out, const Object& object, Nested nested) {
  if (object.price != nullptr) {
    append_item(out, object);
  } else if (object.bulk == nullptr && !nested_list_name(object.resource->type).empty()) {
    append_open(out, object.body);
    append_nested_list(out, object, nested);
  } else {
    out += object.body;
  }
}

std::string object_text(const Object& object, Nested nested) {
  std::string out;
  append_object(out, object, nested);
  return out;
}

std::string tombstone_text(const Object& object) {
  return JsonText()
      .str("id", object.id)
      .str("object", object.resource->object)
      .flag("deleted", true)
      .take();
}

Json object_tree(const World& world, const Object& object, const Shape& shape) {
  Json tree = Json::parse(object_text(object));
  if (!shape.is_current()) make_older(world, object.resource->type, tree, shape);
  return tree;
}

bool expand(const World& world, Json& value, const Resource& resource, std::string_view path,
            const Shape& shape) {
  for (const Reference& reference : resource.references) {
    if (const auto rest = rest_behind(path, reference.field)) {
      return expand_reference(world, value, reference, *rest, shape);
    }
  }
  const auto [head, rest] = split_first(path);
  if (head == nested_list_name(resource.type) && !head.empty()) {
    if (rest.empty()) return false;
    return expand_children(world, value[std::string(head)], resource, rest, shape);
  }
  if (resource.type == "invoice" && head == "payments" && !shape.before("2025-03-31")) {
    value["payments"] = payments_list(world, value.value("id", std::string()));
    return rest.empty() || rest == "data";
  }
  if (resource.type == "charge" && head == "refunds") {
    value["refunds"] = refunds_list(world, value.value("id", std::string()));
    return rest.empty() || rest == "data";
  }
  if (resource.type == "checkout_session" && head == "line_items") {
    value["line_items"] = line_items_of(value);
    return rest.empty() || rest == "data";
  }
  if (rest.empty() && include(world, value, resource.type, head)) return true;
  return resource.type == "subscription_item" && head == "price" && !rest.empty() &&
         expand(world, value["price"], *find_resource("price"), rest, shape);
}

Json line_items_of(const Json& session) {
  const Json item = {{"id", "li_" + session.value("id", std::string("cs_test_")).substr(8, 24)},
                     {"object", "item"},
                     {"amount_subtotal", session.value("amount_subtotal", Json())},
                     {"amount_total", session.value("amount_total", Json())},
                     {"currency", session.value("currency", Json())},
                     {"description", "What was sold"},
                     {"quantity", 1}};
  return {{"object", "list"},
          {"data", Json::array({item})},
          {"has_more", false},
          {"url", "/v1/checkout/sessions/" + session.value("id", std::string()) + "/line_items"}};
}

}  // namespace fake_stripe
