#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fake_stripe {

/// The texts of objects in the pinned version, without what is composed when they are served
/// (world.hpp). The seed and the control side make objects of the same shape with these.

struct CustomerSpec {
  std::string id;
  std::int64_t created = 0;
  std::optional<std::string> email;
  std::string name;
  std::string city;
  std::string line1;
  std::string metadata = "{}";
  std::int64_t balance = 0;
};
std::string customer_body(const CustomerSpec& spec);

struct ProductSpec {
  std::string id;
  std::int64_t created = 0;
  std::string name;
  std::string default_price;
  bool active = true;
};
std::string product_body(const ProductSpec& spec);

struct PriceSpec {
  std::string id;
  std::int64_t created = 0;
  std::string product;
  std::string currency = "usd";
  std::optional<std::int64_t> unit_amount;
  std::string unit_amount_decimal;  ///< empty: null
  bool tiered = false;
  bool recurring = true;
  bool yearly = false;
  bool active = true;
};
std::string price_body(const PriceSpec& spec);

struct SubscriptionSpec {
  std::string id;
  std::int64_t created = 0;
  std::string customer;
  std::string currency = "usd";
  std::string status = "active";
  std::string latest_invoice;
  std::string payment_method;
  std::int64_t ended = 0;
};
std::string subscription_body(const SubscriptionSpec& spec);

struct ItemSpec {
  std::string id;
  std::int64_t created = 0;
  std::string subscription;
  std::string price;
  std::string product;
  std::string currency = "usd";
  std::int64_t quantity = 1;
  std::int64_t period_start = 0;
  std::int64_t period_end = 0;
};
std::string item_body(const ItemSpec& spec);
/// The legacy twin of a price inside an item.
std::string plan_text(std::string_view price, std::string_view product, std::string_view currency);

struct InvoiceSpec {
  std::string id;
  std::int64_t created = 0;
  std::string number;
  std::string customer;
  std::string customer_email;
  std::string customer_name;
  std::string subscription;
  std::string currency = "usd";
  std::string status = "open";
  std::int64_t due = 0;  ///< it is sent to be paid until then; 0: it is charged by itself
  std::int64_t total = 0;
};
std::string invoice_body(const InvoiceSpec& spec);

struct LineSpec {
  std::string id;
  std::string invoice;
  std::string subscription;
  std::string item;  ///< empty: it stands for an invoice item
  std::string price;
  std::string product;
  std::string currency = "usd";
  std::string unit_amount_decimal;
  std::string description;
  std::int64_t amount = 0;
  std::int64_t quantity = 1;
  std::int64_t period_start = 0;
  std::int64_t period_end = 0;
};
std::string line_body(const LineSpec& spec);

struct PaymentSpec {
  std::string id;
  std::int64_t created = 0;
  std::string invoice;
  std::string currency = "usd";
  std::string status = "paid";
  std::string payment_intent;
  std::string charge;  ///< used when payment_intent is empty
  std::int64_t amount = 0;
  bool is_default = true;
};
std::string payment_body(const PaymentSpec& spec);

std::string account_body(std::string_view id, std::int64_t created);

inline constexpr std::int64_t kMonthS = 30LL * 24 * 3600;

}  // namespace fake_stripe
