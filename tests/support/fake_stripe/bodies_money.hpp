#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fake_stripe {

/// The texts of what money leaves behind, in the pinned version; see bodies.hpp.

struct IntentSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::string status = "succeeded";
  std::string customer;
  std::string payment_method;
  std::string latest_charge;
  std::string email;
};
std::string payment_intent_body(const IntentSpec& spec);

struct ChargeSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::int64_t amount_refunded = 0;
  std::string currency = "usd";
  std::string status = "succeeded";
  std::string customer;
  std::string payment_intent;
  std::string payment_method;
  std::string balance_transaction;
  std::string email;
  std::string name;
  bool disputed = false;
};
std::string charge_body(const ChargeSpec& spec);

struct RefundSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::string status = "succeeded";
  std::string charge;
  std::string payment_intent;
  std::string customer;
  std::string payment_method;
  std::string balance_transaction;
};
std::string refund_body(const RefundSpec& spec);

struct TransactionSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t available_on = 0;
  std::int64_t amount = 0;
  std::int64_t fee = 0;
  std::string currency = "usd";
  std::string type = "charge";
  std::string source;
  bool available = true;
};
std::string transaction_body(const TransactionSpec& spec);

struct DisputeSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::string status = "needs_response";
  std::string charge;
  std::string payment_intent;
  std::string transaction;  ///< the JSON of the balance transaction inside; empty: none
};
std::string dispute_body(const DisputeSpec& spec);

struct PayoutSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t arrival = 0;
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::string status = "paid";
  std::string balance_transaction;
  bool automatic = true;
};
std::string payout_body(const PayoutSpec& spec);

struct MethodSpec {
  std::string id;
  std::int64_t created = 0;
  std::string type = "card";
  std::string customer;
  std::string email;
  std::string name;
  std::string last4 = "4242";
};
std::string payment_method_body(const MethodSpec& spec);

struct SetupSpec {
  std::string id;
  std::int64_t created = 0;
  std::string status = "succeeded";
  std::string customer;
  std::string payment_method;
};
std::string setup_intent_body(const SetupSpec& spec);

struct CouponSpec {
  std::string id;
  std::int64_t created = 0;
  std::string percent_off;  ///< a JSON number; empty: amount_off
  std::int64_t amount_off = 0;
  std::string duration = "once";
  std::int64_t times_redeemed = 0;
};
std::string coupon_body(const CouponSpec& spec);

struct PromotionSpec {
  std::string id;
  std::int64_t created = 0;
  std::string code;
  std::string coupon;
  std::string customer;
};
std::string promotion_code_body(const PromotionSpec& spec);

struct CreditSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::string number;
  std::string currency = "usd";
  std::string invoice;
  std::string customer;
  std::string refund;
  bool before_payment = false;
};
std::string credit_note_body(const CreditSpec& spec);

struct SessionSpec {
  std::string id;
  std::int64_t created = 0;
  std::int64_t amount = 0;
  std::string currency = "usd";
  std::string mode = "payment";
  std::string status = "complete";
  std::string customer;
  std::string email;
  std::string name;
  std::string payment_intent;
  std::string subscription;
  std::string setup_intent;
  std::string invoice;
  std::string client_reference_id;
};
std::string checkout_session_body(const SessionSpec& spec);

}  // namespace fake_stripe
