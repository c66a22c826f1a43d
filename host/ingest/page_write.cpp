#include "ingest/page_write.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <tuple>
#include <utility>

#include "base/check.hpp"
#include "base/failpoint.hpp"

namespace sluice::ingest {
namespace {

/// Fewer rows of a type are looked up each by itself.
constexpr std::size_t kNearRowsMin = 50;

}  // namespace

PageWrite::PageWrite(const PageContext& context, Batch& batch, WriterMemory& memory,
                     std::vector<std::vector<std::uint32_t>> rounds,
                     std::map<std::uint32_t, CopyPage> copies, const Options& options)
    : context_(context),
      batch_(batch),
      memory_(memory),
      rounds_(std::move(rounds)),
      copies_(std::move(copies)),
      options_(options),
      recorder_(context, batch, options.wishes, tail_),
      sets_(context, batch, memory.shapes, memory.children, options.observed, recorder_, tail_,
            waiting_) {}

Task<void> PageWrite::rows(pg::Connection& connection, pg::Fenced& fenced) {
  if (options_.may_copy && !rounds_.empty()) co_await copy_new(connection, fenced, rounds_.front());
  if (copied_.empty()) waiting_ = fenced.opening();
  for (const std::vector<std::uint32_t>& round : rounds_) {
    co_await write_round(fenced, round);
  }
}

Task<void> PageWrite::sets(pg::Fenced& fenced, std::span<const contract::CompleteSet> sets) {
  co_await sets_.delete_missing(fenced, sets);
  co_await sets_.delete_children(fenced, sets);
}

TypeState PageWrite::state_of(std::uint32_t type) const {
  return memory_.strategies.of(context_.connection, batch_.plan(type).stored->id);
}

/// Copies what can be copied and takes it out of the round.
Task<void> PageWrite::copy_new(pg::Connection& connection, pg::Fenced& fenced,
                               std::vector<std::uint32_t>& round) {
  const auto is_copied = [this](std::uint32_t type) {
    return state_of(type).strategy == Strategy::copy;
  };
  const RowsByType by_type = copyable(batch_, round, is_copied);
  std::vector<bool> done(batch_.rows.size());
  for (const auto& [type, rows] : by_type) {
    const bool copied = co_await copy_type(connection, fenced, type, rows);
    for (const std::uint32_t index : rows) done[index] = copied;
  }
  std::erase_if(round, [&done](std::uint32_t index) { return done[index]; });
}

/// False when the rows have no binary form; nothing is done then.
Task<bool> PageWrite::copy_type(pg::Connection& connection, pg::Fenced& fenced, std::uint32_t type,
                                const std::vector<std::uint32_t>& rows) {
  const TypePlan& plan = batch_.plan(type);
  std::optional<CopyPage> page;
  const auto ready = copies_.find(type);
  if (ready != copies_.end()) {
    page = std::move(ready->second);
    SLUICE_INVARIANT(page->rows() == rows);
  } else {
    page = CopyPage::make(context_.workspace, context_.connection, batch_, plan, rows);
  }
  if (!page) co_return false;
  const std::vector<std::int64_t> ids = co_await memory_.ids.take(connection, rows.size());
  page->complete(ids, options_.observed);
  copied_.insert(type);
  const std::string sql = copy_sql(plan, page->presence());
  const std::unique_ptr<pg::CopyIn> copy = co_await fenced.copy_in(sql);
  co_await copy->rows(page->wire());
  // While the server works; should it refuse a row, this whole object goes.
  recorder_.begin_round();
  outcomes_[type].rows += rows.size();
  outcomes_[type].inserted += rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) recorder_.inserted(rows[i], ids[i]);
  co_await recorder_.look_inside();
  add_keys_so_far(waiting_, context_, tail_);
  co_await copy->finish();
  co_return true;
}

/// Each row of the round with what is tried first.
std::vector<PageWrite::Progress> PageWrite::begin(const std::vector<std::uint32_t>& round) {
  std::vector<Progress> progress;
  progress.reserve(round.size());
  std::map<std::uint32_t, std::size_t> looks;
  for (const std::uint32_t index : round) {
    const Row& row = batch_.rows[index];
    Progress one;
    one.row = index;
    const bool load =
        row.insertable && !row.deleted && state_of(row.type).strategy != Strategy::look;
    one.next = load ? Next::insert : Next::look;
    progress.push_back(std::move(one));
    ++outcomes_[row.type].rows;
    if (!load) ++looks[row.type];
  }
  for (const auto& [type, rows] : looks) {
    if (rows < kNearRowsMin || state_of(type).scattered_pages > 0) continue;
    for (Progress& one : progress) {
      if (batch_.rows[one.row].type == type && one.next == Next::look) one.next = Next::near;
    }
  }
  return progress;
}

Task<void> PageWrite::write_round(pg::Fenced& fenced, const std::vector<std::uint32_t>& round) {
  std::vector<Progress> progress = begin(round);
  recorder_.begin_round();
  for (int turn = 0;; ++turn) {
    const std::vector<Step> steps = plan_steps(progress);
    if (steps.empty()) co_return;
    if (turn == kTurnsMax)
      throw contended("rows of a page keep being changed by somebody else while it is written");
    pg::Pipeline pipeline = std::move(waiting_);
    waiting_ = pg::Pipeline();
    const std::size_t before = pipeline.size();
    for (const Step& step : steps) add_step(pipeline, step, progress);
    const std::vector<pg::QueryResult> results = co_await fenced.run(std::move(pipeline));
    for (std::size_t i = 0; i < steps.size(); ++i) take(steps[i], results.at(before + i), progress);
    co_await recorder_.look_inside();
  }
}

std::vector<PageWrite::Step> PageWrite::plan_steps(const std::vector<Progress>& progress) const {
  std::vector<Step> steps;
  std::map<std::tuple<Next, std::uint32_t, std::uint32_t>, std::size_t> known;
  for (std::size_t i = 0; i < progress.size(); ++i) {
    const Next next = progress[i].next;
    if (next == Next::done) continue;
    const Row& row = batch_.rows[progress[i].row];
    // Looks and inserts take a whole type at once; an update may set only what its records have.
    const std::uint32_t presence = next == Next::update ? row.presence : 0;
    const auto [at, fresh] =
        known.try_emplace(std::make_tuple(next, row.type, presence), steps.size());
    if (fresh) {
      Step& step = steps.emplace_back();
      step.type = row.type;
      step.what = next;
      step.presence = batch_.presence(row);
    } else if (next == Next::look || next == Next::insert) {
      steps[at->second].presence.merge(batch_.presence(row));
    }
    steps[at->second].members.push_back(i);
  }
  return steps;
}

void PageWrite::add_step(pg::Pipeline& pipeline, const Step& step,
                         const std::vector<Progress>& progress) {
  std::vector<Target> targets;
  targets.reserve(step.members.size());
  for (const std::size_t i : step.members) {
    Target target;
    target.row = &batch_.rows[progress[i].row];
    target.found = &progress[i].found;
    targets.push_back(target);
  }
  const TypePlan& plan = batch_.plan(step.type);
  if (step.what == Next::near) {
    pg::Params params = near_params(context_.workspace, context_.connection, targets);
    memory_.shapes.add(pipeline, near_sql(plan), std::move(params));
    return;
  }
  const Action action = action_of(step.what);
  pg::Params params = action_params(action, context_.workspace, context_.connection, batch_, plan,
                                    step.presence, options_.observed, targets);
  memory_.shapes.add(pipeline, action_sql(action, plan, step.presence, options_.trust),
                     std::move(params));
}

void PageWrite::take_near(const Step& step, const pg::QueryResult& result,
                          std::vector<Progress>& progress) {
  for (const std::size_t i : step.members) progress[i].next = Next::look;
  const auto id_of = [&](std::size_t member) {
    return batch_.rows[progress[step.members[member]].row].external_id;
  };
  std::size_t at = 0;
  std::size_t found = 0;
  for (int r = 0; r < result.rows(); ++r) {
    const std::string_view external_id = result.text(r, 0);
    // Rows lie in the order of their external ids as far as one page stored them.
    if (at == step.members.size() || id_of(at) != external_id) {
      const auto members = std::views::iota(std::size_t{0}, step.members.size());
      at = static_cast<std::size_t>(std::ranges::lower_bound(members, external_id, {}, id_of) -
                                    members.begin());
      if (at == step.members.size() || id_of(at) != external_id) continue;
    }
    Progress& one = progress[step.members[at++]];
    if (!near_is_same(result, r, batch_.rows[one.row])) continue;
    one.next = Next::done;
    ++found;
  }
  stats_.found_near += static_cast<std::int64_t>(found);
  outcomes_[step.type].range_rows += step.members.size();
  outcomes_[step.type].range_matched += found;
}

void PageWrite::take_look(const Step& step, const pg::QueryResult& result,
                          std::vector<Progress>& progress) {
  stats_.looked_up += static_cast<std::int64_t>(step.members.size());
  for (const std::size_t i : step.members)
    progress[i].next = Next::done;  // what is not returned is unchanged
  for (int r = 0; r < result.rows(); ++r) {
    const auto ordinal = static_cast<std::size_t>(result.get<std::int64_t>(r, 0));
    Progress& one = progress[step.members.at(ordinal - 1)];
    const Row& row = batch_.rows[one.row];
    if (result.is_null(r, 1)) {
      if (row.deleted) continue;  // never seen: nothing to delete
      if (row.insertable) {
        one.next = Next::insert;
        continue;
      }
      batch_.refuse(
          one.row, "record.required_missing",
          fmt::format("the record is new and lacks required {}", batch_.missing_required(row)));
      continue;
    }
    if (result.get<bool>(r, 5)) {
      ++tail_.counts.older;
      continue;
    }
    one.found.id = result.get<std::int64_t>(r, 1);
    one.found.sync_version = result.get<std::int64_t>(r, 2);
    one.found.gone = result.get<bool>(r, 3);
    if (!result.is_null(r, 4)) one.found.image = result.text(r, 4);
    one.next = row.deleted ? Next::bury : Next::update;
  }
}

void PageWrite::take(const Step& step, const pg::QueryResult& result,
                     std::vector<Progress>& progress) {
  if (step.what == Next::near) return take_near(step, result, progress);
  if (step.what == Next::look) return take_look(step, result, progress);
  // The server answers in the order of the input, with gaps where it left a row alone.
  std::size_t at = 0;
  for (const std::size_t i : step.members) progress[i].next = Next::look;
  for (int r = 0; r < result.rows(); ++r) {
    const std::string_view external_id = result.text(r, 0);
    while (at < step.members.size() &&
           batch_.rows[progress[step.members[at]].row].external_id != external_id) {
      ++at;
    }
    SLUICE_INVARIANT(at < step.members.size());
    Progress& one = progress[step.members[at]];
    const Row& row = batch_.rows[one.row];
    one.next = Next::done;
    if (step.what == Next::insert) {
      ++outcomes_[step.type].inserted;
      recorder_.inserted(one.row, result.get<std::int64_t>(r, 1));
    } else if (step.what == Next::update) {
      recorder_.updated(one.row, one.found, result.text(r, 2));
    } else {
      if (!one.found.gone) ++deleted_records_;
      recorder_.deleted(row.type, row.external_id, one.found);
    }
  }
}

Action PageWrite::action_of(Next next) {
  switch (next) {
    case Next::insert:
      return Action::insert;
    case Next::update:
      return Action::update;
    case Next::bury:
      return Action::bury;
    default:
      return Action::look;
  }
}

std::vector<Refusal> PageWrite::warnings() const {
  std::vector<Refusal> warnings;
  for (const Note& note : batch_.notes) {
    // An unchanged row was noted when it was written; read again for its own sake, it is noted
    // again, since what this run does not note leaves the quarantine (kForgive).
    if (!recorder_.is_written(note.row) && !context_.stream.empty()) continue;
    const Row& row = batch_.rows[note.row];
    Refusal warning;
    warning.type = batch_.plan(row.type).stored->name;
    warning.external_id = row.external_id;
    warning.code = note.code;
    warning.reason = note.reason;
    warnings.push_back(std::move(warning));
  }
  return warnings;
}

Task<void> PageWrite::finish(pg::Fenced& fenced, const contract::Page& page,
                             const PageEffects& effects) {
  PageCounts& counts = tail_.counts;
  counts.records = static_cast<std::int64_t>(page.records.size() + page.rejected.size());
  counts.quarantined = static_cast<std::int64_t>(batch_.refusals.size());
  counts.notices = static_cast<std::int64_t>(page.notices.size());
  const std::int64_t told =
      counts.inserted + counts.updated + deleted_records_ + counts.quarantined;
  counts.unchanged = std::max<std::int64_t>(0, counts.records - told - counts.older);
  sets_.add_new_children();
  add_tail(waiting_, context_, page, effects, batch_, warnings(), tail_);
  SLUICE_FAILPOINT("ingest.before_commit");
  const auto results = co_await fenced.commit(std::move(waiting_));
  counts.superseded = effects.reading && stream_was_superseded(context_, tail_, results);
}

void PageWrite::remember() {
  for (const ChildKind& kind : sets_.new_children())
    memory_.children.emplace(context_.workspace, context_.manifest->id, kind);
  for (const auto& [type, outcome] : outcomes_)
    memory_.strategies.learn(context_.connection, batch_.plan(type).stored->id, outcome);
  memory_.stats.found_near += stats_.found_near;
  memory_.stats.looked_up += stats_.looked_up;
}

}  // namespace sluice::ingest
