//! `[maintenance]`

use omni_box_pipeline::OmniBoxMaintenanceService;

use crate::Settings;

impl Settings {
    /// `[maintenance]`: upkeep of no table yet, to which a program adds its outbox and inbox.
    pub fn maintenance(&self) -> OmniBoxMaintenanceService {
        type Set = fn(OmniBoxMaintenanceService, std::time::Duration) -> OmniBoxMaintenanceService;
        let setters: [(&str, Set); 3] = [
            ("interval", OmniBoxMaintenanceService::interval),
            ("stale_after", OmniBoxMaintenanceService::stale_after),
            ("retention", OmniBoxMaintenanceService::retention),
        ];
        setters.into_iter().fold(OmniBoxMaintenanceService::new(), |service, (name, set)| {
            match self.duration("maintenance", name) {
                Some(duration) => set(service, duration),
                None => service,
            }
        })
    }
}
