// FETCH: objects as they are now, several requests under way at once. And what FETCH and the
// snapshots share: objects with their children, of which Stripe embeds ten at most.
#include "stripe.hpp"

namespace stripe {

namespace types = manifest::types;

const Stripe::ChildKind Stripe::kItems{
    types::subscription_item, manifest::subscription_item::subscription, "items of subscription"};
const Stripe::ChildKind Stripe::kLines{types::invoice_line, manifest::invoice_line::invoice,
                                       "lines of invoice"};
const Stripe::ChildKind Stripe::kPayments{
    types::invoice_payment, manifest::invoice_payment::invoice, "payments of invoice"};

Task<> Stripe::fetch(std::uint32_t type, std::vector<std::string_view> ids) {
  constexpr std::size_t kAtOnce = 4;  // the manifest's concurrency
  const Kind& kind = kind_of(type);
  const std::string_view path = kind.path;
  if (path.empty()) {
    throw Failure(SLUICE_FAIL_UPSTREAM_PERMANENT,
                  "Stripe has no address for a single invoice line: fetch its invoice, the lines "
                  "come with it");
  }
  std::vector<sluice::sdk::Awaited> under_way;
  std::size_t asked = 0;
  for (std::size_t done = 0; done < ids.size(); ++done) {
    for (; asked < ids.size() && asked < done + kAtOnce; ++asked) {
      Target target{std::string(path)};
      target.segment(ids[asked]);
      if (type == types::invoice) target.add("expand[]", "payments");
      for (const std::string_view property : kind.asked_for) target.add("expand[]", property);
      under_way.push_back(get(target.text()));
    }
    Reply reply = co_await under_way[done];
    co_await fetch_one(type, ids[done], std::move(reply));
  }
}

Task<> Stripe::fetch_one(std::uint32_t type, std::string_view id, Reply reply) {
  const Kind& kind = kind_of(type);
  const std::string what = "reading " + std::string(kind.path) + "/" + std::string(id);
  look_at(reply, what);
  // An account that is no longer connected is gone for the platform; the asked account itself not.
  const bool disconnected = type == types::account && id != account_ && is_foreign_account(reply);
  if (is_gone(reply) || disconnected) {
    co_await emit_gone(type, id);
    co_return;
  }
  if (reply.status() != 200) throw explain(reply, what, now_ms());
  const json::Value object = json_of(reply, what);
  const Face face = expect_object(kind, object, what);
  if (face.id != id) {
    throw Failure(SLUICE_FAIL_BAD_DATA, what + ": Stripe answered with another object, " +
                                            std::string(sluice::sdk::cut_utf8(face.id, 80)));
  }
  if (face.stray) {
    const std::string line = of_other_mode(what, sluice::sdk::cut_utf8(face.id, 80));
    co_await log(SLUICE_LOG_WARNING, line);
    co_await put_aside(kind, face);
    co_return;
  }
  if (face.deleted) {
    co_await emit_gone(type, id);
    co_return;
  }
  co_await emit_object(kind, id, object);
}

Task<> Stripe::emit_gone(std::uint32_t type, std::string_view id) {
  record().begin(type, id).deleted();
  co_await emit(record());
  const Ids none;
  if (type == types::subscription) {
    co_await complete_set(kItems.type, kItems.parent_attribute, id, none);
  } else if (type == types::invoice) {
    co_await complete_set(kLines.type, kLines.parent_attribute, id, none);
    co_await complete_set(kPayments.type, kPayments.parent_attribute, id, none);
  }
}

Task<> Stripe::emit_object(const Kind& kind, std::string_view id, json::Value object) {
  if (!is_storable_id(id)) {  // it will be put aside; its children would stand alone
    fill(record(), kind, id, object, reading());
    co_await emit(record());
    co_return;
  }
  if (kind.type == types::subscription) {
    // Children first: the subscription's period is taken from them.
    period_start_.reset();
    period_end_.reset();
    co_await emit_children(kItems, id, object["items"]);
    fill(record(), kind, id, object, reading());
    namespace a = manifest::subscription;
    if (period_start_) record().timestamp_us(a::current_period_start, *period_start_ * 1'000'000);
    if (period_end_) record().timestamp_us(a::current_period_end, *period_end_ * 1'000'000);
    co_await emit(record());
    co_return;
  }
  fill(record(), kind, id, object, reading());
  co_await emit(record());
  if (kind.type == types::invoice) {
    co_await emit_children(kLines, id, object["lines"]);
    if (object["payments"].exists()) co_await emit_children(kPayments, id, object["payments"]);
  }
}

void Stripe::begin_child(const ChildKind& kind, std::string_view parent, const json::Value& child) {
  const Kind& how = kind_of(kind.type);
  const std::string what = "the " + std::string(kind.what) + " " + std::string(parent);
  Face face = look_at_object(how, child, what);
  std::string_view id = face.id;
  if (!our_version_ && kind.type == types::invoice_line) {
    // Before 2019-12-03 a line's own id stood in unique_id, and its cause's in id.
    const std::string_view unique = child["unique_id"].text();
    if (!unique.empty()) id = unique;
  }
  children_named_ = children_named_ && !id.empty();
  if (is_storable_id(id)) child_ids_.add(id);
  if (face.livemode && livemode_ && *face.livemode != *livemode_) {
    // What is stored of it stays: it is among the children there are.
    constexpr std::size_t kNamed = 400;
    if (stray_children_.size() < kNamed) {
      if (!stray_children_.empty()) stray_children_ += ", ";
      stray_children_ += sluice::sdk::cut_utf8(id, 80);
    }
    face.id = id;
    fill_aside(record(), how, face);
    return;
  }
  learn_mode(face.livemode, what, id);
  fill(record(), how, id, child, reading());
  record().text(kind.parent_attribute, parent);
  put_page(record(), how, parent, dashboard_);
  if (kind.type != types::subscription_item) return;
  const auto plausible = [](std::optional<std::int64_t> second) {
    return second && *second >= 0 && *second <= kYear9999;
  };
  const auto start = child["current_period_start"].integer();
  const auto end = child["current_period_end"].integer();
  if (plausible(start) && (!period_start_ || *start < *period_start_)) period_start_ = start;
  if (plausible(end) && (!period_end_ || *end > *period_end_)) period_end_ = end;
}

Task<> Stripe::emit_children(const ChildKind& kind, std::string_view parent, json::Value embedded) {
  constexpr int kPassesMax = 3;
  const json::Value data = embedded["data"];
  if (!data.is_array())
    co_return;  // an older shape says nothing about children: leave them as they are
  forget_children();
  if (embedded["has_more"].boolean() != true) {
    for (const json::Value child : data.items()) {
      begin_child(kind, parent, child);
      co_await emit(record());
    }
  } else {
    // What is embedded is cut off, and its last one may be gone already: read their own list from
    // its start.
    int passes = 0;
    bool whole = false;
    while (!whole) {
      if (++passes > kPassesMax) {
        throw Failure(SLUICE_FAIL_UPSTREAM_TRANSIENT,
                      "the " + std::string(kind.what) + " " + std::string(parent) +
                          " changed while they were read, three times over");
      }
      forget_children();
      whole = co_await emit_child_pages(kind, parent);
    }
  }
  if (!stray_children_.empty()) {
    const std::string where =
        "the " + std::string(kind.what) + " " + std::string(sluice::sdk::cut_utf8(parent, 80));
    const std::string told = of_other_mode(where, stray_children_);
    co_await log(SLUICE_LOG_WARNING, told);
  }
  if (children_named_) {
    co_await complete_set(kind.type, kind.parent_attribute, parent, child_ids_);
    co_return;
  }
  // One of those that are stored may be the one without an id: none of them is taken for gone.
  std::string line = "the " + std::string(kind.what) + " " +
                     std::string(sluice::sdk::cut_utf8(parent, 80)) +
                     ": Stripe sent some without an id; they are put aside, and what was removed "
                     "there is not looked for";
  co_await log(SLUICE_LOG_WARNING, line);
}

void Stripe::forget_children() {
  child_ids_.clear();
  children_named_ = true;
  stray_children_.clear();
}

std::string Stripe::child_target(const ChildKind& kind, std::string_view parent,
                                 std::string_view after) const {
  Target target("/v1");
  if (kind.type == types::invoice_line) {
    target.segment("invoices").segment(parent).segment("lines");
  } else if (kind.type == types::subscription_item) {
    target.segment("subscription_items").add("subscription", parent);
  } else {
    target.segment("invoice_payments").add("invoice", parent);
  }
  target.add("limit", page_size(kPageMax));
  if (!after.empty()) target.add("starting_after", after);
  return target.text();
}

Task<bool> Stripe::emit_child_pages(const ChildKind& kind, std::string_view parent) {
  const std::string what = "reading the " + std::string(kind.what) + " " + std::string(parent);
  LoopGuard guard(what, kChildPagesMax);
  std::string after;
  for (;;) {
    const std::string target = child_target(kind, parent, after);
    Reply reply = co_await get(target);
    if (!after.empty() && is_bad_cursor(reply)) co_return false;
    if (is_gone(reply)) co_return true;  // the parent went meanwhile: it has no children any more
    if (reply.status() != 200) throw explain(reply, what, now_ms());
    look_at(reply, what);
    const ListPage page = page_of(reply, what, after);
    for (const json::Value child : page.data.items()) {
      begin_child(kind, parent, child);
      co_await emit(record());
    }
    if (!page.more) co_return true;
    guard.next_cursor(page.last);
    after = page.last;
  }
}

}  // namespace stripe
