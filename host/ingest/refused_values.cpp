#include "ingest/refused_values.hpp"

#include <map>
#include <optional>
#include <span>

#include "ingest/shape.hpp"

namespace sluice::ingest {

bool is_refused_value(const pg::QueryError& error) {
  return error.sqlstate().starts_with("22") || error.sqlstate().starts_with("54");
}

Task<std::vector<std::pair<std::uint32_t, std::string>>> find_refused(pg::Fenced& trial,
                                                                      const PageContext& context,
                                                                      const Batch& batch) {
  constexpr ConnectionId kNobody(0);
  std::vector<std::pair<std::uint32_t, std::string>> refused;
  std::vector<std::vector<std::uint32_t>> lists;  // of one type each, no external id twice
  for (const auto& round : batch.rounds()) {
    std::map<std::uint32_t, std::vector<std::uint32_t>> by_type;
    for (const std::uint32_t index : round) {
      if (!batch.rows[index].deleted) by_type[batch.rows[index].type].push_back(index);
    }
    for (auto& [type, list] : by_type) lists.push_back(std::move(list));
  }
  for (const std::vector<std::uint32_t>& list : lists) {
    const TypePlan& plan = batch.plan(batch.rows[list.front()].type);
    std::vector<std::span<const std::uint32_t>> open;
    open.emplace_back(list);
    while (!open.empty()) {
      const std::span<const std::uint32_t> part = open.back();
      open.pop_back();
      Presence presence;
      std::vector<Target> targets;
      for (const std::uint32_t index : part) {
        presence.merge(batch.presence(batch.rows[index]));
        Target target;
        target.row = &batch.rows[index];
        targets.push_back(target);
      }
      const std::string sql = action_sql(Action::insert, plan, presence);
      pg::Params params = action_params(Action::insert, context.workspace, kNobody, batch, plan,
                                        presence, 0, targets);
      std::optional<std::string> reason;
      co_await trial.query("savepoint part");
      try {
        co_await trial.query(sql, std::move(params));
      } catch (const pg::QueryError& error) {
        if (!is_refused_value(error)) throw;
        reason = error.error().message;
      }
      co_await trial.query("rollback to savepoint part");
      if (!reason) continue;
      if (part.size() == 1) {
        refused.emplace_back(part.front(), *reason);
      } else {
        open.push_back(part.first(part.size() / 2));
        open.push_back(part.subspan(part.size() / 2));
      }
    }
  }
  co_await trial.rollback();
  co_return refused;
}

}  // namespace sluice::ingest
