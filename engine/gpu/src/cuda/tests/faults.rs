//! What faults do to a backend, and what is left when one goes.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_full_device_hurts_one_and_the_context_lives() {
    let backend = open();
    let mut held = Vec::new();
    let frame = noise(1920, 1080, 1);
    let full = loop {
        let mut surface = backend.surface().unwrap();
        match backend.upload(&frame, &mut surface) {
            Ok(()) => held.push(surface),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(full, Fault::Full { .. }), "{full}");
    assert!(held.len() >= 12, "{}", held.len());
    assert!(!backend.context().is_lost());
    let last = held.pop().unwrap();
    assert!(downloaded(&backend, &last) == frame);
    drop(last);
    uploaded(&backend, &frame);
    // A work that finds no memory fails alone.
    let inputs = [uploaded(&backend, &noise(16, 16, 1)), held.pop().unwrap()];
    while let Ok(surface) = {
        let mut surface = backend.surface().unwrap();
        backend.upload(&frame, &mut surface).map(|()| surface)
    } {
        held.push(surface);
    }
    let mut outputs = [backend.surface().unwrap(), backend.surface().unwrap()];
    let step = Step::Filter(Filter::Edges { gain_percent: 100 });
    let mut batch: Vec<Work<'_, Surface>> = inputs
        .iter()
        .zip(&mut outputs)
        .map(|(input, output)| Work::new(&step, input, output))
        .collect();
    backend.processor().unwrap().process(&mut batch).unwrap();
    assert!(batch[0].outcome.is_ok());
    let Err(crate::process::Error::Device(fault)) = &batch[1].outcome else {
        panic!("{:?}", batch[1].outcome)
    };
    assert!(matches!(fault, Fault::Full { .. }), "{fault}");
    drop(batch);
    let got = downloaded(&backend, &outputs[0]);
    assert!(got == filtered(Filter::Edges { gain_percent: 100 }, &noise(16, 16, 1)));
}

/// From the first call that says so nothing is asked of the context, and what was made on it goes with it.
#[test]
fn a_lost_device_is_left_alone_and_opened_anew() {
    for call in [
        "event_query",
        "launch_kernel",
        "memcpy_htod_async",
        "memcpy_dtoh_async",
        "mem_alloc",
        "event_record",
    ] {
        let backend = open();
        let mut processor = backend.processor().unwrap();
        let input = uploaded(&backend, &noise(64, 48, 1));
        let mut output = backend.surface().unwrap();
        let mut frame = Frame::default();
        let step = Step::Filter(Filter::Blur { radius_px: 3 });
        fake::plant(call, 700);
        let outcome = processor
            .process_one(&step, &input, &mut output)
            .and_then(|()| Ok(backend.download(&output, &mut frame)?))
            .and_then(|()| Ok(backend.upload(&noise(640, 480, 1), &mut output)?));
        let Err(crate::process::Error::Device(fault)) = outcome else {
            panic!("{call}: {outcome:?}")
        };
        assert!(
            matches!(
                fault,
                Fault::Lost {
                    name: "CUDA_ERROR_ILLEGAL_ADDRESS",
                    ..
                }
            ),
            "{call}: {fault}"
        );
        assert!(backend.context().is_lost());
        // All that follows says the same at once.
        assert_eq!(backend.upload(&noise(8, 8, 1), &mut output), Err(fault));
        assert_eq!(backend.download(&input, &mut frame), Err(fault));
        assert_eq!(
            backend.usage().memory_total_bytes,
            Some(fake::MEMORY_BYTES as u64)
        );
        drop((input, output, processor));
        assert_eq!(fake::held()[0], 1, "the backend still holds the context");
        drop(backend);
        assert_eq!(
            fake::held(),
            NOTHING,
            "{call}: all of it went with the context"
        );
        assert_eq!(
            fake::with(|state| state.late_frees),
            0,
            "{call}: nothing was given back one by one"
        );
        let again = Cuda::new(0).open_on(fake::driver()).unwrap();
        let frame = noise(64, 48, 5);
        assert!(downloaded(&again, &uploaded(&again, &frame)) == frame);
    }
}

/// A wait ends at its deadline; after that nothing waits again and nothing that the device may still use is freed.
#[test]
fn a_stuck_device_is_abandoned() {
    let backend = open();
    let input = uploaded(&backend, &noise(64, 48, 1));
    let mut region = None;
    if let Ok(pinned) = Pinned::new(backend.context(), 100) {
        region = Some(pinned.into_region());
    }
    fake::with(|state| state.hangs = true);
    let since = Instant::now();
    let stuck = backend
        .stream()
        .settle(Duration::from_millis(30))
        .unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(1));
    let Fault::Stuck { waited_ms, .. } = stuck else {
        panic!("{stuck}")
    };
    assert!((30..1000).contains(&waited_ms));
    assert!(stuck.is_lost() && backend.context().is_lost());
    let before = fake::held();
    let since = Instant::now();
    assert_eq!(backend.download(&input, &mut Frame::default()), Err(stuck));
    drop((input, backend));
    assert!(
        since.elapsed() < Duration::from_millis(500),
        "nothing waited"
    );
    assert_eq!(
        fake::held(),
        before,
        "nothing was given back, the context included"
    );
    let region = region.unwrap();
    let base = region.base().as_ptr() as usize;
    assert_eq!((base % 4096, region.len()), (0, 4096));
    drop(region);
    let again = Cuda::new(0).open_on(fake::driver());
    assert!(again.is_ok());
}

/// The bytes are there as long as a slot of them is, on any thread; the registration as long as the context.
#[test]
fn slots_of_pinned_memory_outlive_its_context() {
    let backend = open();
    let pinned = Pinned::new(backend.context(), 5000).unwrap();
    let region = pinned.into_region();
    assert_eq!(region.len(), 8192);
    let slots = handoff::slot::Slots::new(region, 4096);
    let mut slot = slots.take().unwrap();
    slot[4095] = 7;
    drop(slots);
    assert_eq!(fake::held()[5], 1);
    drop(backend);
    assert_eq!(fake::held()[0], 0, "the context is gone");
    let read = std::thread::spawn(move || slot[4095]);
    assert_eq!(read.join().unwrap(), 7);
}

#[test]
fn two_backends_of_a_thread_do_not_disturb_each_other() {
    let first = open();
    let second = Cuda::new(0).open_on(fake::same_driver()).unwrap();
    let (one, two) = (noise(33, 21, 1), noise(64, 48, 2));
    let on_first = uploaded(&first, &one);
    let on_second = uploaded(&second, &two);
    assert!(downloaded(&first, &on_first) == one);
    assert!(downloaded(&second, &on_second) == two);
    drop((first, on_first));
    assert!(downloaded(&second, &on_second) == two);
    drop((second, on_second));
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let none = Cuda::new(3)
        .open_on(fake::driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        none.to_string(),
        "cuda refused: there is no cuda:3: the driver lists 1 device"
    );
    fake::plant("create", 2);
    let full = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        full.to_string(),
        "the device is full: cuCtxCreate failed with CUDA_ERROR_OUT_OF_MEMORY"
    );
    fake::plant("module_load_data", 218);
    let jit = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        jit.to_string(),
        "cuda refused: kernel copy: CUDA_ERROR_INVALID_PTX: ptxas fatal: not today"
    );
    fake::plant("stream_create", 1190);
    let future = Cuda::new(0)
        .open_on(fake::same_driver())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        future.to_string(),
        "cuStreamCreate failed with CUDA_ERROR_OF_THE_FUTURE"
    );
    assert_eq!(fake::held(), NOTHING);
}

#[test]
fn a_probe_opens_each_device_and_gives_it_back() {
    let (driver, devices) = look::all(fake::driver());
    assert_eq!(
        (driver.cuda, driver::version(driver.cuda).as_str()),
        (12_040, "12.4")
    );
    let [device] = &devices[..] else {
        panic!("{devices:?}")
    };
    assert_eq!(
        (device.id.as_str(), device.name.as_str()),
        ("cuda:0", "NVIDIA Fake")
    );
    assert_eq!(
        (device.compute, device.trouble.as_deref()),
        (Some(89), None)
    );
    assert_eq!(device.memory_total_bytes, Some(fake::MEMORY_BYTES as u64));
    assert_eq!(fake::held(), NOTHING);
    fake::plant("create", 46);
    let (_, devices) = look::all(fake::same_driver());
    assert_eq!(
        devices[0].trouble.as_deref(),
        Some("cuCtxCreate failed with CUDA_ERROR_DEVICE_UNAVAILABLE")
    );
}
