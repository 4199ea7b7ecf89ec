// The one thread that writes: what several callers want at the same time shares a transaction, and
// so a wait for the disk.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "controlplane/store/database.h"

namespace sluice::controlplane::store {

class Writer {
 public:
  using Work = std::function<absl::Status(Database&)>;

  // `maintain` runs on the writer's thread about once a second while there are writes, else once a
  // minute, in a transaction of its own.
  Writer(std::unique_ptr<Database> database, Work maintain);
  // Finishes what is queued.
  ~Writer();

  // Runs `work` inside a savepoint, which is undone if it fails, and `committed` once the
  // transaction is on disk, both on the writer's thread. Blocks until then. Any other thread.
  absl::Status run(Work work, std::function<void()> committed);

  // OK, or why the last transaction failed.
  absl::Status health() const;

 private:
  struct Job {
    Work work;
    std::function<void()> committed;
    absl::Status status;
    std::promise<absl::Status> done;
  };

  void loop();
  std::vector<Job> take();
  void run_group(std::vector<Job>& jobs);
  absl::Status run_jobs(std::vector<Job>& jobs);
  absl::Status transaction(const std::function<absl::Status()>& body);
  void maintain_if_due();
  void probe();
  void set_health(const absl::Status& status);

  const std::unique_ptr<Database> database_;
  const Work maintain_;
  std::chrono::steady_clock::time_point maintained_{};
  bool wrote_ = false;  // since the last maintenance

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Job> queue_;
  absl::Status health_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses all above
};

}  // namespace sluice::controlplane::store
