use std::ops::Range;

use portcullis::behavior::AttemptedItem;

use super::random::Random;
use super::site::{Site, at, item};

const TEAMS: usize = 17;
const STAGES: [(&str, Option<&str>); 3] =
    [("dev", None), ("staging", None), ("live", Some("production"))];
/// The days on which something happens that does not happen each month day, counted from the installation.
const ROTATION: usize = 22;
const MIGRATION: usize = 30;
const NODE_FAILURES: [usize; 3] = [8, 18, 36];
const NEW_TEAMS: [usize; 2] = [24, 38];

/// The first 44 days of Portcullis on a site: the learning period, and an ordinary month after it.
///
/// 17 teams have a namespace for each of development, staging and production, and two vaults; all share three
/// more vaults. They move in over the first nine days. On weekdays, in office hours, they deploy, which makes a
/// request again, and now and then want one more item; eight of them have nightly jobs. New applications go
/// through the stages over three days, some denied at first for want of a ticket. Somebody on call needs
/// something at night. On one day a team has its credentials rotated, half of them into new items; on another a
/// team brings 24 credentials from elsewhere into production; nodes fail; two teams are founded.
#[derive(Clone, Debug)]
pub struct Month {
    site: Site,
    random: Random,
    applications: Vec<Application>,
    next_item: usize,
}

/// An application of a team on one stage.
#[derive(Clone, Debug)]
struct Application {
    team: usize,
    stage: usize,
    name: String,
    items: Vec<AttemptedItem>,
}

impl Application {
    fn namespace(&self) -> String {
        namespace(self.team, self.stage)
    }
}

pub(super) fn namespace(team: usize, stage: usize) -> String {
    format!("team-{team}-{}", STAGES[stage % STAGES.len()].0)
}

impl Month {
    /// Lives through it.
    #[must_use]
    pub fn live(seed: u64) -> Site {
        let mut month = Self {
            site: Site::new(),
            random: Random::new(seed),
            applications: Vec::new(),
            next_item: 1000,
        };
        for day in 0..44 {
            month.nightly_jobs(day);
            if NODE_FAILURES.contains(&day) {
                month.node_failure(day);
            }
            if day % 7 < 5 {
                month.move_in(day);
                month.new_applications(day);
                month.deployments(day);
                match day {
                    ROTATION => month.rotation(day),
                    MIGRATION => month.migration(day),
                    _ => {}
                }
            }
            if month.random.happens(50) {
                month.on_call(day);
            }
        }
        month.site
    }

    /// Two teams a day bring what they have; later on two teams are founded.
    fn move_in(&mut self, day: usize) {
        let founded = NEW_TEAMS.iter().position(|founded| *founded == day).map(|n| TEAMS + n);
        let moving = (0..TEAMS).filter(|team| day == team / 2 + team / 10 * 2);
        for team in moving.chain(founded).collect::<Vec<_>>() {
            for stage in 0..STAGES.len() {
                if founded == Some(team) {
                    self.site.create_namespace(&namespace(team, stage), at(day, 8, 0));
                }
                let count = if founded == Some(team) { 3 } else { self.random.between(4, 8) };
                for number in 0..count {
                    let mut items = self.own_items(team, stage, 1..4);
                    if number == 0 {
                        items.extend(shared(team * STAGES.len() + stage));
                    }
                    self.open(day, team, stage, format!("app-{number}"), items);
                }
            }
        }
    }

    /// New credentials in the vault of a team.
    fn own_items(&mut self, team: usize, stage: usize, many: Range<usize>) -> Vec<AttemptedItem> {
        let (_, environment) = STAGES[stage];
        let vault = match environment {
            Some(environment) => format!("team-{team}-{environment}"),
            None => format!("team-{team}"),
        };
        let count = self.random.between(many.start, many.end - 1);
        let first = self.next_item;
        self.next_item += count;
        (first..first + count).map(|number| item(&vault, environment, number)).collect()
    }

    /// An application asks for the first time.
    fn open(
        &mut self,
        day: usize,
        team: usize,
        stage: usize,
        name: String,
        items: Vec<AttemptedItem>,
    ) {
        let application = Application { team, stage, name, items };
        let (hour, minute) = (self.random.between(8, 16), self.random.below(60));
        self.ask(&application, day, hour, minute);
        self.applications.push(application);
    }

    fn ask(&mut self, application: &Application, day: usize, hour: usize, minute: usize) {
        let of = (&*application.namespace(), &*application.name);
        let consumer = Some(&*application.name);
        self.site.ask(at(day, hour, minute), of, consumer, &application.items);
    }

    /// A new application each three days or so: today in development, then in staging, then in production.
    fn new_applications(&mut self, day: usize) {
        if day < 12 || !self.random.happens(350) {
            return;
        }
        let team = self.random.below(TEAMS);
        let name = format!("app-of-day-{day}");
        if self.random.happens(150) {
            let items = self.own_items(team, 0, 1..3);
            let namespace = namespace(team, 0);
            self.site.refuse(at(day, 9, 0), (&namespace, &name), &items);
            self.open(day, team, 0, name.clone(), items);
        } else {
            let items = self.own_items(team, 0, 2..5);
            self.open(day, team, 0, name.clone(), items);
        }
        for stage in 1..STAGES.len() {
            let mut items = self.own_items(team, stage, 2..5);
            if self.random.happens(300) {
                items.push(item("services", Some("production"), self.random.below(200)));
            }
            self.open(day + stage, team, stage, name.clone(), items);
        }
    }

    /// Each namespace is deployed to some times a day. A request is made again, or edited; one in fifty wants an
    /// item more.
    fn deployments(&mut self, day: usize) {
        let mut deployed = Vec::new();
        for number in 0..self.applications.len() {
            if self.random.happens(250) {
                deployed.push((self.random.between(8, 17), self.random.below(60), number));
            }
        }
        deployed.sort_unstable();
        for (hour, minute, number) in deployed {
            let Some(mut application) = self.applications.get(number).cloned() else {
                continue;
            };
            if self.random.happens(20) {
                let more = self.own_items(application.team, application.stage, 1..2);
                application.items.extend(more);
                if let Some(kept) = self.applications.get_mut(number) {
                    kept.items.clone_from(&application.items);
                }
            }
            self.ask(&application, day, hour, minute);
        }
    }

    /// Jobs that have a request of their own, made and deleted each night.
    fn nightly_jobs(&mut self, day: usize) {
        for team in (0..TEAMS).step_by(2).filter(|team| team / 2 + team / 10 * 2 < day) {
            let first = self.applications.iter().find(|a| a.team == team && a.stage == 2);
            if let Some(mut job) = first.cloned() {
                job.name = "nightly".to_owned();
                job.items.truncate(1);
                self.ask(&job, day, 2, team);
            }
        }
    }

    /// A node is lost at night, and what ran on it is made again, twice over.
    fn node_failure(&mut self, day: usize) {
        for minute in [40, 47] {
            for number in (0..self.applications.len()).step_by(6) {
                if let Some(application) = self.applications.get(number).cloned() {
                    self.ask(&application, day, 3, minute);
                }
            }
        }
    }

    /// A team has its credentials rotated: all of its requests are edited, and half of those of production get
    /// a new item instead of a new value.
    fn rotation(&mut self, day: usize) {
        let team = self.random.below(TEAMS);
        for number in 0..self.applications.len() {
            let Some(mut application) =
                self.applications.get(number).filter(|a| a.team == team).cloned()
            else {
                continue;
            };
            if application.stage == 2 && number % 2 == 0 {
                application.items = self.own_items(team, 2, 1..4);
                if let Some(kept) = self.applications.get_mut(number) {
                    kept.items.clone_from(&application.items);
                }
            }
            self.ask(&application, day, 11, number % 60);
        }
    }

    /// A team brings eight applications of three credentials each into production.
    fn migration(&mut self, day: usize) {
        let team = self.random.below(TEAMS);
        for number in 0..8 {
            let items = self.own_items(team, 2, 3..4);
            self.open(day, team, 2, format!("moved-{number}"), items);
        }
    }

    /// Somebody needs one credential more, late in the evening.
    fn on_call(&mut self, day: usize) {
        if self.applications.is_empty() {
            return;
        }
        let number = self.random.below(self.applications.len());
        if let Some(mut application) = self.applications.get(number).cloned() {
            application.items = self.own_items(application.team, application.stage, 1..2);
            application.name = format!("hotfix-{day}");
            self.ask(&application, day, 22, 15);
        }
    }
}

/// What every namespace has of the shared vaults: the registry, one of the services, one of the tools.
fn shared(number: usize) -> [AttemptedItem; 3] {
    [
        item("registry", None, 0),
        item("services", Some("production"), number % 200),
        item("tools", None, number % 200),
    ]
}
