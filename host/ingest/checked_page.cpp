#include "ingest/checked_page.hpp"

#include <algorithm>
#include <utility>

namespace sluice::ingest {

void CheckedPage::make_copies(const PageCheck& check) {
  if (check.copied.empty() || rounds.empty()) return;
  const auto is_copied = [&](std::uint32_t type) {
    return std::ranges::find(check.copied, batch.plan(type).stored->id) != check.copied.end();
  };
  for (auto& [type, rows] : copyable(batch, rounds.front(), is_copied)) {
    std::optional<CopyPage> page =
        CopyPage::make(check.workspace, check.connection, batch, batch.plan(type), rows);
    if (page) copies.emplace(type, std::move(*page));
  }
}

std::shared_ptr<CheckedPage> PageCheck::operator()(const contract::Page& page) const {
  if (catalog == nullptr || page.empty()) return nullptr;
  try {
    auto checked = std::make_shared<CheckedPage>(*manifest, catalog, page);
    checked->make_copies(*this);
    return checked;
  } catch (const Failure&) {  // the writer comes to the same, at the page's turn
    return nullptr;
  }
}

}  // namespace sluice::ingest
