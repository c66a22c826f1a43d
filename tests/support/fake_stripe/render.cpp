#include "render.hpp"

#include <algorithm>

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

Json value_or_null(const Json& tree, const char* pointer) {
  const Json::json_pointer at(pointer);
  return tree.contains(at) ? tree.at(at) : Json();
}

void line_before_basil(const World& world, Json& line) {
  const Json price_id = value_or_null(line, "/pricing/price_details/price");
  const Object* price = price_id.is_string()
                            ? world.of("price").find(price_id.get_ref<const std::string&>())
                            : nullptr;
  const bool from_subscription = value_or_null(line, "/parent/type") == "subscription_item_details";
  const std::string base =
      from_subscription ? "/parent/subscription_item_details/" : "/parent/invoice_item_details/";
  line["price"] = price == nullptr ? Json() : Json::parse(price->body);
  line["plan"] = nullptr;
  line["type"] = from_subscription ? "subscription" : "invoiceitem";
  line["subscription"] = value_or_null(line, (base + "subscription").c_str());
  line["proration"] = value_or_null(line, (base + "proration").c_str());
  if (from_subscription) {
    line["subscription_item"] = value_or_null(line, (base + "subscription_item").c_str());
  } else {
    line["invoice_item"] = value_or_null(line, (base + "invoice_item").c_str());
  }
  line["tax_amounts"] = Json::array();
  line["tax_rates"] = Json::array();
  for (const char* key :
       {"pricing", "parent", "taxes", "subtotal", "quantity_decimal", "invoice"}) {
    line.erase(key);
  }
}

Json default_payment(const World& world, const std::string& invoice_id) {
  const Ordered& payments = world.of("invoice_payment").linked("invoice", invoice_id);
  if (payments.empty()) return Json::object();
  return Json::parse(payments.front()->body).value("payment", Json::object());
}

void invoice_before_basil(const World& world, Json& invoice) {
  const Json payment = default_payment(world, invoice.value("id", std::string()));
  const bool paid = value_or_null(invoice, "/status") == "paid";
  invoice["subscription"] = value_or_null(invoice, "/parent/subscription_details/subscription");
  invoice["quote"] = value_or_null(invoice, "/parent/quote_details/quote");
  invoice["payment_intent"] = value_or_null(payment, "/payment_intent");
  // In the old world a paid invoice always named the charge that paid it.
  invoice["charge"] = value_or_null(payment, "/charge");
  if (paid && invoice["charge"].is_null()) {
    invoice["charge"] = "ch_" + invoice.value("id", std::string("in_")).substr(3);
  }
  invoice["paid"] = paid;
  invoice["paid_out_of_band"] = false;
  invoice["discount"] = nullptr;
  invoice["tax"] = nullptr;
  invoice["total_tax_amounts"] = Json::array();
  for (const char* key : {"parent", "total_taxes", "amount_overpaid"}) invoice.erase(key);
  for (Json& line : invoice["lines"]["data"]) line_before_basil(world, line);
}

void subscription_before_basil(Json& subscription) {
  Json start;
  Json end;
  for (Json& item : subscription["items"]["data"]) {
    const Json item_start = item["current_period_start"];
    const Json item_end = item["current_period_end"];
    if (start.is_null() || item_start < start) start = item_start;
    if (end.is_null() || end < item_end) end = item_end;
    for (const char* key : {"current_period_start", "current_period_end", "discounts"}) {
      item.erase(key);
    }
  }
  subscription["current_period_start"] = start;
  subscription["current_period_end"] = end;
  subscription["discount"] = nullptr;
  subscription.erase("discounts");
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
                     Shape shape) {
  const auto [data, inner] = split_first(rest);
  if (data != "data") return false;
  if (inner.empty()) return true;
  for (Json& child : value["data"]) {
    if (!expand(world, child, *find_resource(child_type(parent.type)), inner, shape)) return false;
  }
  return true;
}

bool expand_reference(const World& world, Json& value, const Reference& reference,
                      std::string_view rest, Shape shape) {
  Json& field = value[std::string(reference.field)];
  if (field.is_string()) {
    const Object* target = world.of(reference.type).find(field.get_ref<const std::string&>());
    if (target == nullptr) return true;
    if (target->deleted) {
      field = Json::parse(tombstone_text(*target));
      return true;
    }
    field = object_tree(world, *target, shape);
  }
  if (rest.empty() || !field.is_object() || field.contains("deleted")) return true;
  return expand(world, field, *find_resource(reference.type), rest, shape);
}

}  // namespace

Shape shape_of(std::string_view version) {
  return version.substr(0, 10) < "2025-03-31" ? Shape::kBeforeBasil : Shape::kCurrent;
}

void append_object(std::string& out, const Object& object, Nested nested) {
  if (object.price != nullptr) {
    append_item(out, object);
  } else if (!nested_list_name(object.resource->type).empty()) {
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

Json object_tree(const World& world, const Object& object, Shape shape) {
  Json tree = Json::parse(object_text(object));
  if (shape == Shape::kCurrent) return tree;
  const std::string_view type = object.resource->type;
  if (type == "invoice") invoice_before_basil(world, tree);
  if (type == "invoice_line") line_before_basil(world, tree);
  if (type == "subscription") subscription_before_basil(tree);
  return tree;
}

bool expand(const World& world, Json& value, const Resource& resource, std::string_view path,
            Shape shape) {
  const auto [head, rest] = split_first(path);
  for (const Reference& reference : resource.references) {
    if (reference.field == head) return expand_reference(world, value, reference, rest, shape);
  }
  if (head == nested_list_name(resource.type) && !head.empty()) {
    if (rest.empty()) return false;
    return expand_children(world, value[std::string(head)], resource, rest, shape);
  }
  if (resource.type == "invoice" && head == "payments" && shape == Shape::kCurrent) {
    value["payments"] = payments_list(world, value.value("id", std::string()));
    return rest.empty() || rest == "data";
  }
  return resource.type == "subscription_item" && head == "price" && !rest.empty() &&
         expand(world, value["price"], *find_resource("price"), rest, shape);
}

}  // namespace fake_stripe
