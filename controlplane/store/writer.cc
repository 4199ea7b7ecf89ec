#include "controlplane/store/writer.h"

#include <chrono>
#include <iterator>

#include "controlplane/model/limits.h"
#include "proxy/base/log.h"

namespace sluice::controlplane::store {
namespace {

constexpr auto kProbeInterval = std::chrono::seconds(1);
constexpr auto kBusyMaintenance = std::chrono::seconds(1);
constexpr auto kIdleMaintenance = std::chrono::minutes(1);

}  // namespace

Writer::Writer(std::unique_ptr<Database> database, Work maintain)
    : database_(std::move(database)), maintain_(std::move(maintain)), thread_([this] { loop(); }) {}

Writer::~Writer() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

absl::Status Writer::run(Work work, std::function<void()> committed) {
  Job job;
  job.work = std::move(work);
  job.committed = std::move(committed);
  std::future<absl::Status> done = job.done.get_future();
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return done.get();
}

absl::Status Writer::health() const {
  std::lock_guard lock(mutex_);
  return health_;
}

void Writer::loop() {
  for (;;) {
    std::vector<Job> jobs = take();
    if (!jobs.empty()) {
      run_group(jobs);
    } else if (!health().ok()) {
      probe();
    }
    maintain_if_due();
    std::lock_guard lock(mutex_);
    if (ending_ && queue_.empty()) {
      return;
    }
  }
}

std::vector<Writer::Job> Writer::take() {
  std::unique_lock lock(mutex_);
  const auto patience = health_.ok() ? std::chrono::seconds(kIdleMaintenance) : kProbeInterval;
  wake_.wait_for(lock,
                 wrote_ ? std::min(patience, std::chrono::seconds(kBusyMaintenance)) : patience,
                 [this] { return ending_ || !queue_.empty(); });
  std::vector<Job> jobs;
  if (queue_.size() <= limits::kWriteGroupMax) {
    jobs.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end()));
    queue_.clear();
  } else {
    const auto end = queue_.begin() + limits::kWriteGroupMax;
    jobs.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
    queue_.erase(queue_.begin(), end);
  }
  return jobs;
}

void Writer::run_group(std::vector<Job>& jobs) {
  const absl::Status status = transaction([&] { return run_jobs(jobs); });
  set_health(status);
  wrote_ = true;
  for (Job& job : jobs) {
    if (!status.ok()) {
      job.status = status;
    } else if (job.status.ok() && job.committed) {
      job.committed();
    }
    job.done.set_value(job.status);
  }
}

// Not OK only if the whole transaction is lost.
absl::Status Writer::run_jobs(std::vector<Job>& jobs) {
  for (Job& job : jobs) {
    SLUICE_RETURN_IF_ERROR(database_->exec("SAVEPOINT job"));
    job.status = job.work(*database_);
    SLUICE_RETURN_IF_ERROR(database_->failure());
    if (!job.status.ok()) {
      SLUICE_RETURN_IF_ERROR(database_->exec("ROLLBACK TO job"));
    }
    SLUICE_RETURN_IF_ERROR(database_->exec("RELEASE job"));
  }
  return absl::OkStatus();
}

absl::Status Writer::transaction(const std::function<absl::Status()>& body) {
  database_->clear_failure();
  SLUICE_RETURN_IF_ERROR(database_->exec("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) {
    status = database_->exec("COMMIT");
  }
  if (database_->in_transaction()) {
    database_->exec("ROLLBACK").IgnoreError();
  }
  return status;
}

void Writer::maintain_if_due() {
  const auto now = std::chrono::steady_clock::now();
  if (now - maintained_ < (wrote_ ? std::chrono::seconds(kBusyMaintenance) : kIdleMaintenance) ||
      !health().ok()) {
    return;
  }
  maintained_ = now;
  wrote_ = false;
  set_health(transaction([this] { return maintain_(*database_); }));
}

// Big enough that it does not fit into what a full disk has left in the log.
void Writer::probe() {
  set_health(transaction([this]() -> absl::Status {
    Statement statement =
        database_->prepare("INSERT OR REPLACE INTO probe (id, fill) VALUES (0, zeroblob(65536))");
    return statement.run();
  }));
}

void Writer::set_health(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (status.ok() != health_.ok()) {
    if (status.ok()) {
      log::info("{}: writes succeed again", database_->path());
    } else {
      log::error("{}", message_of(status));
    }
  }
  health_ = status;
}

}  // namespace sluice::controlplane::store
