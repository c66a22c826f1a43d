#include "shapes.hpp"

#include "render.hpp"
#include "world.hpp"

namespace fake_stripe {
namespace {

constexpr std::string_view kBasil = "2025-03-31";
constexpr std::string_view kClover = "2025-09-30";
constexpr std::string_view kListsLeft = "2022-11-15";
constexpr std::string_view kRefundCustomer = "2026-07-29";

Json value_or_null(const Json& tree, const char* pointer) {
  const Json::json_pointer at(pointer);
  return tree.contains(at) ? tree.at(at) : Json();
}

void line_before_basil(const World& world, Json& line, const Shape& shape) {
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
  if (shape.before("2019-12-03")) {
    line["unique_id"] = line["id"];
    const Json owner = from_subscription ? line["subscription"] : line["invoice_item"];
    if (owner.is_string()) line["id"] = owner;
  }
}

Json default_payment(const World& world, const std::string& invoice_id) {
  const Ordered& payments = world.of("invoice_payment").linked("invoice", invoice_id);
  if (payments.empty()) return Json::object();
  return Json::parse(payments.front()->body).value("payment", Json::object());
}

void invoice_before_basil(const World& world, Json& invoice, const Shape& shape) {
  const Json payment = default_payment(world, invoice.value("id", std::string()));
  const bool paid = value_or_null(invoice, "/status") == "paid";
  invoice["subscription"] = value_or_null(invoice, "/parent/subscription_details/subscription");
  invoice["quote"] = value_or_null(invoice, "/parent/quote_details/quote");
  invoice["payment_intent"] = value_or_null(payment, "/payment_intent");
  // In the old world a paid invoice always named the charge that paid it.
  invoice["charge"] = value_or_null(payment, "/charge");
  if (const Json intent = invoice["payment_intent"]; intent.is_string()) {
    const Ordered& charges = world.of("charge").linked("payment_intent", intent.get<std::string>());
    if (!charges.empty()) invoice["charge"] = charges.back()->id;
  }
  if (paid && invoice["charge"].is_null()) {
    invoice["charge"] = "ch_" + invoice.value("id", std::string("in_")).substr(3);
  }
  invoice["paid"] = paid;
  invoice["paid_out_of_band"] = false;
  invoice["discount"] = nullptr;
  invoice["tax"] = nullptr;
  invoice["total_tax_amounts"] = Json::array();
  for (const char* key : {"parent", "total_taxes", "amount_overpaid"}) invoice.erase(key);
  for (Json& line : invoice["lines"]["data"]) line_before_basil(world, line, shape);
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

/// The invoice that a payment intent or a charge paid.
Json invoice_paid_by(const World& world, const Json& intent) {
  if (!intent.is_string()) return {};
  const Ordered& payments =
      world.of("invoice_payment").linked("payment[payment_intent]", intent.get<std::string>());
  if (payments.empty()) return {};
  return value_or_null(Json::parse(payments.front()->body), "/invoice");
}

Json embedded(const Ordered& newest_last, const std::string& url) {
  Json data = Json::array();
  for (auto at = newest_last.rbegin(); at != newest_last.rend() && data.size() < kEmbeddedMax;
       ++at) {
    data.push_back(Json::parse((*at)->body));
  }
  return {{"object", "list"},
          {"data", data},
          {"has_more", data.size() < newest_last.size()},
          {"total_count", newest_last.size()},
          {"url", url}};
}

void charge_before_basil(const World& world, Json& charge, const Shape& shape) {
  charge["invoice"] = invoice_paid_by(world, value_or_null(charge, "/payment_intent"));
  if (!shape.before(kListsLeft)) return;
  const std::string id = charge.value("id", std::string());
  charge["refunds"] =
      embedded(world.of("refund").linked("charge", id), "/v1/charges/" + id + "/refunds");
}

void intent_before_basil(const World& world, Json& intent, const Shape& shape) {
  intent["invoice"] = invoice_paid_by(world, value_or_null(intent, "/id"));
  if (!shape.before(kListsLeft)) return;
  const std::string id = intent.value("id", std::string());
  intent["charges"] =
      embedded(world.of("charge").linked("payment_intent", id), "/v1/charges?payment_intent=" + id);
  intent.erase("latest_charge");
}

void credit_before_basil(Json& credit) {
  credit["refund"] = value_or_null(credit, "/refunds/0/refund");
  credit["tax_amounts"] = Json::array();
  for (const char* key : {"refunds", "total_taxes"}) credit.erase(key);
}

void promotion_before_clover(const World& world, Json& promotion) {
  const Json coupon = value_or_null(promotion, "/promotion/coupon");
  const Object* known =
      coupon.is_string() ? world.of("coupon").find(coupon.get<std::string>()) : nullptr;
  promotion["coupon"] = known == nullptr ? Json() : Json::parse(known->body);
  promotion.erase("promotion");
}

}  // namespace

void make_older(const World& world, std::string_view type, Json& tree, const Shape& shape) {
  if (type == "refund" && shape.before(kRefundCustomer)) {
    for (const char* key : {"customer", "payment_method"}) tree.erase(key);
  }
  if (type == "promotion_code" && shape.before(kClover)) promotion_before_clover(world, tree);
  if (!shape.before(kBasil)) return;
  if (type == "invoice") invoice_before_basil(world, tree, shape);
  if (type == "invoice_line") line_before_basil(world, tree, shape);
  if (type == "subscription") subscription_before_basil(tree);
  if (type == "charge") charge_before_basil(world, tree, shape);
  if (type == "payment_intent") intent_before_basil(world, tree, shape);
  if (type == "credit_note") credit_before_basil(tree);
}

}  // namespace fake_stripe
