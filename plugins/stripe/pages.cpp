#include "stripe.hpp"

namespace stripe {

void LoopGuard::next_cursor(std::string_view cursor) {
  ++pages_;
  if (pages_ > pages_max_) {
    throw Failure(SLUICE_FAIL_BAD_DATA, what_ + ": the list has not ended after " +
                                            std::to_string(pages_max_) +
                                            " pages; reading was stopped");
  }
  if (cursor == anchor_) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  what_ + ": Stripe's list goes round in circles (the page behind " +
                      std::string(sluice::sdk::cut_utf8(cursor, 80)) +
                      " came again); reading was stopped");
  }
  if (pages_ == anchor_until_) {
    anchor_ = cursor;
    anchor_until_ *= 2;
  }
}

ListPage page_of(Reply& reply, std::string_view what, std::string_view after) {
  const json::Value body = json_of(reply, what);
  const auto more = body["has_more"].boolean();
  ListPage page;
  page.data = body["data"];
  if (!page.data.is_array() || !more) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) + ": Stripe answered 200 with something that is no list");
  }
  page.more = *more;
  bool any_object = page.data.items().empty();
  for (const json::Value object : page.data.items()) {
    any_object = any_object || object.is_object();
    const std::string_view id = object["id"].text();
    if (id.empty()) continue;  // what has no id costs itself, where it is put out
    page.last = id;
    if (page.last == after) {
      throw Failure(SLUICE_FAIL_BAD_DATA, std::string(what) +
                                              ": Stripe sent a page again (it holds " +
                                              std::string(sluice::sdk::cut_utf8(after, 80)) +
                                              ", which it should follow); reading was stopped");
    }
  }
  if (!any_object) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) + ": Stripe sent a list that holds no object at all");
  }
  if (page.more && page.last.empty() && !page.data.items().empty()) {
    throw Failure(SLUICE_FAIL_BAD_DATA,
                  std::string(what) +
                      ": Stripe sent a page of objects that have no id; the list cannot be "
                      "continued behind it");
  }
  if (page.more && page.last.empty()) {
    throw Failure(SLUICE_FAIL_UPSTREAM_TRANSIENT,
                  std::string(what) +
                      ": Stripe says that there is more and sends an empty page; reading goes on "
                      "from the page before it, later");
  }
  std::string quoted;
  json::append_string(quoted, page.last.substr(0, kCursorBytesMax + 1));
  if (quoted.size() > kCursorBytesMax) {
    throw Failure(SLUICE_FAIL_BAD_DATA, std::string(what) + ": Stripe sent an id of " +
                                            std::to_string(page.last.size()) +
                                            " bytes; no list can be continued behind it");
  }
  return page;
}

json::Value parse_checkpoint(json::Document& document, std::string_view text) {
  try {
    return document.parse(text);
  } catch (const json::Error& error) {
    throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED,
                  std::string("the checkpoint is damaged: ") + error.what());
  }
}

void reject_checkpoint(std::string_view stream) {
  throw Failure(SLUICE_FAIL_CHECKPOINT_REJECTED, "the checkpoint does not hold what the stream " +
                                                     std::string(stream) +
                                                     " wrote: read it again from its start");
}

}  // namespace stripe
